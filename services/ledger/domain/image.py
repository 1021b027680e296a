"""The image of a machine: its state as named sections of bytes, for snapshots and for comparing states.

Columns are arrays of 64-bit integers, least byte first; lists of names and ids are text, one a line; hashes
lie end to end; what there is little of is JSON rows. Of what there are millions nothing is read by a step of
Python each. The same state gives the same bytes, also after it was loaded from an image. Version 3.
"""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

import orjson

from services.ledger.domain.answers import BODY_BYTES, Refused, Result
from services.ledger.domain.books import SAT, Posting
from services.ledger.domain.columns import column_of, cut, json_of, lines_of, load_column, set_all
from services.ledger.domain.commands import Deposit, OpenSession, ReverseDeposit
from services.ledger.domain.deposits import Credited, Reversal
from services.ledger.domain.holds import Hold, HoldState
from services.ledger.domain.machine import Machine
from services.ledger.domain.reasons import Reason
from services.ledger.domain.round_rows import load_round, round_row
from services.ledger.domain.sessions import Session, SessionView, StopReason
from services.ledger.domain.titles import Title

Sections = Mapping[str, bytes]

VERSION = 3
OUTPOINT_BYTES = 36
# What waits for the history. Two machines in the same state may have put different parts of it there already.
TAILS = frozenset({"postings", "sessions_leaving", "rounds_leaving"})


class BadImage(Exception):  # noqa: N818 - names what was found
    """The sections are no image that this version reads."""


def dump(machine: Machine) -> dict[str, bytes]:
    """The machine's state, between two commands."""
    sections = {
        "clock": json_of(_clock(machine)),
        "counts": json_of(_counts(machine)),
        "result": machine.result_hash,
    }
    for part in _DUMPS:
        sections.update(part(machine))
    return sections


def load(sections: Sections) -> Machine:
    """The machine that was dumped. Raises BadImage."""
    machine = Machine()
    try:
        for part in _LOADS:
            part(machine, sections)
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as problem:
        raise BadImage(f"the image cannot be read: {problem!r}") from problem
    return machine


def hash_of(sections: Sections, *, without: Collection[str] = TAILS) -> bytes:
    """SHA-256 over the sections by name; without the tails it is the same for all machines in this state."""
    hashed = hashlib.sha256()
    for name in sorted(sections.keys() - set(without)):
        hashed.update(f"{name} {len(sections[name])}\n".encode())
        hashed.update(sections[name])
    return hashed.digest()


def _clock(machine: Machine) -> dict[str, Any]:
    return {
        "now_ns": machine.now_ns,
        "horizon_ns": machine.window.horizon_ns,
        "low": machine.window.low,
        "silence_ns": machine.meter.silence_ns,
        "reign_ns": machine.meter.reign_ns,
    }


def _counts(machine: Machine) -> dict[str, Any]:
    return {
        "version": VERSION,
        "postings_made": machine.books.postings_made,
        "sessions_made": machine.meter.sessions_made,
        "memory_begins_ns": machine.rounds.memory_begins_ns,
    }


def _load_machine(machine: Machine, sections: Sections) -> None:
    clock, counts = orjson.loads(sections["clock"]), orjson.loads(sections["counts"])
    if counts["version"] != VERSION:
        raise BadImage(f"the image has version {counts['version']}, this ledger reads {VERSION}")
    machine.now_ns = machine.books.now_ns = clock["now_ns"]
    machine.window.horizon_ns, machine.window.low = clock["horizon_ns"], clock["low"]
    machine.window.move(machine.now_ns)
    machine.meter.silence_ns, machine.meter.reign_ns = clock["silence_ns"], clock["reign_ns"]
    machine.books.postings_made = counts["postings_made"]
    machine.meter.sessions_made = counts["sessions_made"]
    machine.rounds.memory_begins_ns = counts["memory_begins_ns"]
    machine.result_hash = sections["result"]


def _accounts(machine: Machine) -> Sections:
    books = machine.books
    kinds = list(dict.fromkeys(books.assets))
    number = {asset: place for place, asset in enumerate(kinds)}
    return {
        "account_names": "\n".join(books.names).encode(),
        "asset_names": "\n".join(kinds).encode(),
        "account_assets": column_of(array("q", [number[asset] for asset in books.assets])),
        "account_traits": bytes(books.traits),
        "balances": column_of(books.balance),
        "held": column_of(books.held),
        "newest_postings": column_of(books.newest),
        "newest_sessions": column_of(books.newest_session),
        "debts": json_of(list(books.debt.items())),
        "postings": json_of([tuple(posting) for posting in books.postings]),
    }


def _load_accounts(machine: Machine, sections: Sections) -> None:
    books = machine.books
    books.names = lines_of(sections["account_names"])
    kinds = lines_of(sections["asset_names"])
    books.assets = [kinds[place] for place in load_column(sections["account_assets"])]
    books.traits = bytearray(sections["account_traits"])
    books.balance = load_column(sections["balances"])
    books.held = load_column(sections["held"])
    books.newest = load_column(sections["newest_postings"])
    books.newest_session = load_column(sections["newest_sessions"])
    # The books' other parts hold on to the dictionary of satoshis.
    books.numbers[SAT].update(
        (name, place)
        for place, (name, asset) in enumerate(zip(books.names, books.assets, strict=True))
        if asset == SAT
    )
    for place, asset in enumerate(books.assets):
        if asset != SAT:
            books.numbers.setdefault(asset, {})[books.names[place]] = place
    books.debt = dict(orjson.loads(sections["debts"]))
    books.postings = [Posting(*row) for row in orjson.loads(sections["postings"])]


def _answers(machine: Machine) -> Sections:
    sections = {}
    for span, answers in machine.answers.by_span.items():
        applied = {id_: body for id_, body in answers.items() if isinstance(body, bytes)}
        refused = [
            (id_, known.body.hex(), known.result.reason, known.result.detail)
            for id_, known in answers.items()
            if isinstance(known, Refused)
        ]
        sections[f"answers/{span}/ids"] = "\n".join(applied).encode()
        sections[f"answers/{span}/bodies"] = b"".join(applied.values())
        sections[f"answers/{span}/refused"] = json_of(refused)
    return sections


def _load_answers(machine: Machine, sections: Sections) -> None:
    for span in (name.split("/")[1] for name in sections if name.endswith("/ids")):
        bodies = cut(sections[f"answers/{span}/bodies"], BODY_BYTES)
        answers: dict[str, bytes | Refused]
        answers = dict(zip(lines_of(sections[f"answers/{span}/ids"]), bodies, strict=True))
        for id_, body, reason, detail in orjson.loads(sections[f"answers/{span}/refused"]):
            answers[id_] = Refused(bytes.fromhex(body), Result(Reason(reason), detail))
        machine.answers.by_span[span] = answers


_HOLD_FIELDS = ("id", "debit", "credit", "amount", "memo", "expires_ns", "state")


def _holds(machine: Machine) -> Sections:
    rows = [{name: getattr(one, name) for name in _HOLD_FIELDS} for one in machine.holds.by_id.values()]
    return {"holds": json_of(rows), "holds_closed": json_of(list(machine.holds.closed))}


def _load_holds(machine: Machine, sections: Sections) -> None:
    holds = machine.holds
    for row in orjson.loads(sections["holds"]):
        state, id_ = HoldState(row.pop("state")), row.pop("id")
        hold = Hold(id_=id_, **row)
        hold.state = state
        holds.know(hold)
    holds.closed = deque((at_ns, hold_id) for at_ns, hold_id in orjson.loads(sections["holds_closed"]))


def _titles(machine: Machine) -> Sections:
    return {"titles": json_of(list(machine.titles.by_meme.values()))}


def _load_titles(machine: Machine, sections: Sections) -> None:
    for row in orjson.loads(sections["titles"]):
        title = machine.titles.by_meme[row["meme_id"]] = Title(**row)
        machine.titles.by_owner.setdefault(title.owner_id, set()).add(title.meme_id)


def _deposits(machine: Machine) -> Sections:
    deposits, number = machine.deposits, machine.books.numbers[SAT]
    credited = deposits.by_id.values()
    bodies = [one.body for one in credited]
    blocks = list(dict.fromkeys(body.block_hash for body in bodies))
    place = {block_hash: place for place, block_hash in enumerate(blocks)}
    earlier = [
        (body.id, list(one.earlier)) for one, body in zip(credited, bodies, strict=True) if one.earlier
    ]
    return {
        "deposit_ids": "\n".join(deposits.by_id).encode(),
        "deposit_accounts": column_of(array("q", [number[body.account] for body in bodies])),
        "deposit_sats": column_of(array("q", [body.amount_sats for body in bodies])),
        "deposit_txids": "\n".join([body.txid for body in bodies]).encode(),
        "deposit_vouts": column_of(array("q", [body.vout for body in bodies])),
        "deposit_blocks": column_of(array("q", [place[body.block_hash] for body in bodies])),
        "deposits_at": column_of(array("q", [one.at_ns for one in credited])),
        "deposits_stand": bytes(one.stands for one in credited),
        "deposits_earlier": json_of(earlier),
        "block_hashes": "\n".join(blocks).encode(),
        "reversals": json_of(list(deposits.reversals.values())),
        "outpoints": b"".join(sorted(deposits.standing_outpoints)),
    }


def _load_deposits(machine: Machine, sections: Sections) -> None:
    deposits, names = machine.deposits, machine.books.names
    ids, blocks = lines_of(sections["deposit_ids"]), lines_of(sections["block_hashes"])
    bodies = map(
        Deposit,
        ids,
        [names[account] for account in load_column(sections["deposit_accounts"])],
        load_column(sections["deposit_sats"]),
        lines_of(sections["deposit_txids"]),
        load_column(sections["deposit_vouts"]),
        [blocks[place] for place in load_column(sections["deposit_blocks"])],
    )
    stands, times = map(bool, sections["deposits_stand"]), load_column(sections["deposits_at"])
    deposits.by_id = dict(zip(ids, map(Credited, bodies, stands, times), strict=True))
    for id_, earlier in orjson.loads(sections["deposits_earlier"]):
        deposits.by_id[id_].earlier = tuple(Deposit(**body) for body in earlier)
    for row in orjson.loads(sections["reversals"]):
        command = ReverseDeposit(**row.pop("command"))
        deposits.reversals[command.id] = Reversal(command, **row)
    deposits.standing_outpoints = set(cut(sections["outpoints"], OUTPOINT_BYTES))


def _rounds(machine: Machine) -> Sections:
    rounds = machine.rounds
    return {
        "rounds": json_of([round_row(one) for one in rounds.by_id.values()]),
        "rounds_leaving": json_of([round_row(one) for one in rounds.leaving]),
        "round_current": (rounds.current.id if rounds.current else "").encode(),
    }


def _load_rounds(machine: Machine, sections: Sections) -> None:
    rounds = machine.rounds
    for row in orjson.loads(sections["rounds"]):
        one = load_round(row)
        rounds.by_id[one.id] = one
    rounds.leaving = [load_round(row) for row in orjson.loads(sections["rounds_leaving"])]
    rounds.current = rounds.by_id.get(sections["round_current"].decode())


_SESSION_FIELDS = (
    "before", "closed_ns", "heard_ns", "key", "plain_below_s", "score_left_s", "seconds", "stop",
)  # fmt: skip


def _sessions(machine: Machine) -> Sections:
    rows = [
        (
            one.command,
            (one.round.id, one.account, one.number, one.opened_ns),
            [getattr(one, name) for name in _SESSION_FIELDS],
        )
        for one in machine.meter.kept
    ]
    return {"sessions": json_of(rows), "sessions_leaving": json_of(machine.meter.leaving)}


def _load_sessions(machine: Machine, sections: Sections) -> None:
    meter, rounds = machine.meter, machine.rounds
    for asked, (round_id, account, number, opened_ns), fields in orjson.loads(sections["sessions"]):
        command, in_round = OpenSession(**asked), rounds.by_id[round_id]
        session = Session(command, in_round, account=account, at_ns=opened_ns, number=number)
        set_all(session, dict(zip(_SESSION_FIELDS, fields, strict=True)))
        session.stop = StopReason(session.stop)
        in_round.know_session(command.session_id, command.viewer_id)
        meter.kept.append(session)
        meter.know(session, session.key)
        if session.stop is StopReason.RUNNING:
            meter.running[command.viewer_id, command.meme_id] = session
            heapq.heappush(meter.silences, (session.heard_ns + meter.silence_ns, command.session_id))
    for row in orjson.loads(sections["sessions_leaving"]):
        row["stop"] = StopReason(row["stop"])
        meter.leaving.append(SessionView(**row))
    # What was told of tallies is not known: all of them are told again.
    if rounds.current is not None:
        meter.dirty = dict(rounds.current.memes)
    machine.forget_changes()


_DUMPS: tuple[Callable[[Machine], Sections], ...] = (
    _accounts, _answers, _holds, _titles, _deposits, _rounds, _sessions,
)  # fmt: skip
_LOADS: tuple[Callable[[Machine, Sections], None], ...] = (
    _load_machine, _load_accounts, _load_answers, _load_holds, _load_titles, _load_deposits, _load_rounds,
    _load_sessions,
)  # fmt: skip
