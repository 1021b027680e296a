"""`export` and `explain-payout`: the public record of a round, and what follows from it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from services.ledger.app.history import History
from services.ledger.app.replay import recover
from services.ledger.command_line.command import WRONG_BOOKS, Command, Root, Unanswered
from services.ledger.command_line.explained import explained
from services.ledger.domain.explain import explain
from services.ledger.domain.json_values import RecordInvalid
from services.ledger.domain.public_record import PublicRecord, record_of
from services.ledger.domain.record_json import RECORD_BYTES_MAX, encode, parse
from services.ledger.domain.rounds import RoundState

STDIN = "-"


def run_export(root: Root, asked: Namespace) -> int:
    """Writes the public record of a round as canonical JSON, and its SHA-256 to standard error. It is for
    everybody: it names no viewer, and every payout can be recomputed from it. Replays the journal, changing
    nothing; may run beside the service. Exits with 0.
    """
    record = asyncio.run(_from_journal(root, asked.round))
    data = encode(record)
    if asked.to is None:
        sys.stdout.buffer.write(data)
    else:
        _write_whole(asked.to, data)
    if record.state not in {RoundState.DISTRIBUTED, RoundState.VOIDED}:
        sys.stderr.write(f"the round is {record.state.name}: its record is not final\n")
    sys.stderr.write(f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}\n")
    return 0


def run_explain(root: Root, asked: Namespace) -> int:
    """Recomputes what a user (or everybody) got in a round from the round's public record, shows each step,
    and compares every amount of the round with the recorded one. The record comes from the journal, which is
    replayed and not changed, or from a file that `export` wrote: then no ledger is needed. ROUND and USER are
    UUIDs, or ids as GraphQL shows them (base64 of "Round:UUID", "User:UUID"). Exits with 0 when all amounts
    are equal, also for a user who earned nothing; with 1 when one is not; with 2 when there is no such round,
    or USER is no id.
    """
    if asked.record is None:
        record = asyncio.run(_from_journal(root, asked.round))
    else:
        record = _from_file(asked.record)
    if record.round_id != asked.round:
        raise Unanswered(f"{asked.record}: this is the record of round {record.round_id}")
    if asked.user and asked.user not in _earners(record) and not _is_uuid(asked.user):
        raise Unanswered(f"no such user in this round: {asked.user!r}, which is no user's id either")
    told = explain(record, asked.user or "")
    sys.stdout.write(explained(record, told))
    if asked.user and asked.user not in _earners(record):
        sys.stdout.write("this user earned nothing in this round: no creator, owner or paid rank of it\n")
    return 0 if told.matches else WRONG_BOOKS


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("round", metavar="ROUND", type=_id_of("Round"), help="the round's id")


def _export_arguments(parser: ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument("--to", metavar="FILE", type=Path, help="where to write it; else to standard output")


def _explain_arguments(parser: ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument(
        "user",
        metavar="USER",
        type=_id_of("User"),
        nargs="?",
        help="whose part; everybody's unless given",
    )
    parser.add_argument("--record", metavar="FILE", help=f"the record; {STDIN} is standard input")


EXPORT = Command("export", "write the public record of a round", run_export, _export_arguments)
EXPLAIN = Command(
    "explain-payout", "recompute a payout from that record, step by step", run_explain, _explain_arguments
)


def _id_of(kind: str) -> Callable[[str], str]:
    """Reads an id as it is, or as GraphQL shows it."""

    def read(text: str) -> str:
        try:
            name, _, bare = base64.b64decode(text, validate=True).decode().partition(":")
        except ValueError:
            return text
        return bare if name == kind and bare else text

    return read


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _earners(record: PublicRecord) -> set[str]:
    """Everybody whom the record names."""
    named = {paid.user_id for paid in record.payouts}
    for entry in record.entries:
        named.add(entry.creator_id)
        named.update(part.owner_id for part in entry.owners)
        named.update(tenure.owner_id for tenure in entry.tenures)
    return named


async def _from_journal(root: Root, round_id: str) -> PublicRecord:
    async with root.open() as stored:
        kept = await History(stored.history).round(round_id)
        if kept is not None:
            return kept
        machine, head = await recover(stored.journal, stored.recovery.load)
    found = machine.rounds.find(round_id)
    if found is not None:
        return record_of(found)
    latest = machine.rounds.latest()
    newest = f"the newest is {latest.id}" if latest else "it has none"
    raise Unanswered(f"no round {round_id} in this journal of {head.sequence} records: {newest}")


def _from_file(name: str) -> PublicRecord:
    try:
        return parse(_read(name))
    except RecordInvalid as problem:
        raise Unanswered(f"{name}: {problem}") from problem


def _read(name: str) -> bytes:
    """At most one byte more than a record may have."""
    if name == STDIN:
        return sys.stdin.buffer.read(RECORD_BYTES_MAX + 1)
    with Path(name).open("rb") as file:
        return file.read(RECORD_BYTES_MAX + 1)


def _write_whole(path: Path, data: bytes) -> None:
    """The file appears whole, or stays as it was."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as problem:
        raise Unanswered(f"{path}: {problem.strerror}") from problem
    finally:
        partial.unlink(missing_ok=True)
