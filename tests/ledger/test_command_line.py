"""`satreel-ledger` over the real store of a ledger that is not running."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
from satreel.ledger.v1 import journal_pb2, ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh.clock import ManualClock
from mesh.records import open_store
from services.ledger.__main__ import open_stored, open_stored_to_write, place
from services.ledger.adapters.journal import SETS, StoreJournal
from services.ledger.app.orders import Order
from services.ledger.app.snapshotting import Stored
from services.ledger.command_line.command import Root
from services.ledger.command_line.main import main
from services.ledger.config import LedgerSettings
from services.ledger.domain.record_json import parse
from services.ledger.domain.sessions import SessionView
from services.ledger.rpc import show
from services.ledger.rpc.read import order, read_command, transfers_order
from tests.ledger.stores import Instance
from tests.ledger.world import NS_PER_S, RATES, txid_of, uid

ROOT = Path(__file__).parent.parent.parent


class Played(NamedTuple):
    """What the journal tells of."""

    folder: Path
    round_id: str
    open_id: str
    creator: str
    owner: str


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("ledger")
    return asyncio.run(play(folder))


async def play(folder: Path) -> Played:
    """One round of one meme that is sold in the middle, and another that is open."""
    clock = ManualClock()
    now = clock.now_ns()
    creator, owner, meme, played, opened = (uid(name, now) for name in ("ada", "ben", "cat", "r1", "r2"))
    settings = LedgerSettings(data_dir=folder)
    async with open_store(settings, SETS) as store, AsyncExitStack() as stack:
        instance = Instance(StoreJournal(store, clock, read_command), clock, "one")
        await instance.lead()
        stack.push_async_callback(instance.kill)
        submit = instance.ledger.submit
        deposit = ledger_pb2.Deposit(
            id=uid("d", now), user_id=owner, amount_sats=5_000, txid=txid_of("d"), block_hash="b" * 64
        )
        await submit(order(credit_deposits=pb.CreditDepositsRequest(deposits=[deposit])))
        await submit(order(issue_title=pb.IssueTitleRequest(meme_id=meme, creator_id=creator)))
        await submit(order(open_round=opening(played, meme, creator, now)))
        session = pb.OpenSessionRequest(session_id=uid("s", now), meme_id=meme, budget_sats=1_000)
        viewing = await submit(
            order(open_session=journal_pb2.JournalOpenSession(viewer_id=owner, request=session))
        )
        assert isinstance(viewing, SessionView)
        for seconds in (8, 16):
            await clock.advance(8)
            report = journal_pb2.JournalSeconds(meter_keys=[viewing.meter_key], seconds=[seconds])
            await submit(order(report_seconds=report))
            if seconds == 8:
                await submit(sale(meme, creator, owner, now))
        await submit(order(lock_round=pb.LockRoundRequest(round_id=played)))
        # The viewer became the owner: only the first seconds count for the score.
        await submit(order(distribute_pool=pb.DistributePoolRequest(round_id=played, ranking=[meme])))
        await submit(order(open_round=opening(opened, meme, creator, clock.now_ns())))
    return Played(folder, played, opened, creator, owner)


def opening(round_id: str, meme: str, creator: str, now: int) -> pb.OpenRoundRequest:
    parameters = ledger_pb2.Parameters(
        **{name: getattr(RATES, name) for name in RATES.__slots__} | {"payout_min_sats": 5}
    )
    return pb.OpenRoundRequest(
        round_id=round_id,
        parameters=parameters,
        starts_at=show.timestamp(now),
        locks_at=show.timestamp(now + 600 * NS_PER_S),
        entries=[ledger_pb2.RoundEntry(meme_id=meme, creator_id=creator, quality_ppm=900_000)],
    )


def sale(meme: str, seller: str, buyer: str, now: int) -> Order:
    title = ledger_pb2.Transfer(
        id=uid("sale", now),
        kind=ledger_pb2.TRANSFER_KIND_POST,
        debit_account=f"user:{seller}",
        credit_account=f"user:{buyer}",
        asset=f"title:{meme}",
        amount=1,
    )
    return transfers_order("market", pb.CreateTransfersRequest(transfers=[title]))


class Shown(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Shown]


@pytest.fixture
def run(played: Played, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    monkeypatch.setenv("SATREEL_DATA_DIR", str(played.folder))

    def served() -> None:
        sys.stdout.write("serving")

    def nothing() -> AbstractAsyncContextManager[Stored]:
        raise AssertionError("the store was opened")

    def run(*arguments: object, ledger: bool = True) -> Shown:
        root = Root(
            serve=served,
            open=open_stored if ledger else nothing,
            open_to_write=open_stored_to_write if ledger else nothing,
            place=place,
        )
        try:
            code = main(root, [str(argument) for argument in arguments])
        except SystemExit as left:  # by argparse
            code = int(left.code or 0)
        out, err = capsysbinary.readouterr()
        return Shown(code, out.decode(), err.decode())

    return run


def test_no_command_serves(run: Run) -> None:
    assert run() == run("serve") == Shown(0, "serving", "")


def test_every_command_explains_itself(run: Run) -> None:
    general = run("--help")
    for command in ("serve", "snapshot", "verify", "export", "explain-payout"):
        assert f"\n    {command}" in general.out
        own = run(command, "--help")
        assert (own.code, own.err) == (0, "")
        assert "SATREEL_DATA_DIR" in own.out
        assert ("SATREEL_LEDGER_QUEUE_MAX" in own.out) is (command == "serve")
        assert f"usage: satreel-ledger {command}" in own.out


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("export",), ("explain-payout",), ("verify", "more"), ("export", "r", "--nonsense")],
)
def test_wrong_arguments_are_told(run: Run, arguments: tuple[str, ...]) -> None:
    shown = run(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert "usage: satreel-ledger" in shown.err


def test_verify(run: Run, played: Played) -> None:
    shown = run("verify")
    assert (shown.code, shown.out.splitlines()[-1]) == (0, "all is well")
    assert shown.out.splitlines()[0] == f"store     {played.folder / 'records' / 'ledger.sqlite'}"


@pytest.mark.parametrize(
    "arguments", [("verify",), ("export", "r"), ("explain-payout", "r"), ("snapshot",)], ids=lambda a: a[0]
)
def test_where_no_ledger_is_none_is_made(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr("os.nice", lambda _: 0)
    folder = tmp_path / "none"
    monkeypatch.setenv("SATREEL_DATA_DIR", str(folder))
    file = folder / "records" / "ledger.sqlite"
    told = f"satreel-ledger: there is no ledger in {file}; SATREEL_DATA_DIR says where to look\n"
    assert run(*arguments) == Shown(2, "", told)
    assert not folder.exists()
    file.parent.mkdir(parents=True)
    sqlite3.connect(file).close()
    assert run(*arguments) == Shown(2, "", told)
    assert [path.name for path in folder.rglob("*")] == ["records", "ledger.sqlite"]
    assert file.stat().st_size == 0


def test_reading_makes_no_archive(run: Run, played: Played) -> None:
    run("verify")
    run("export", played.round_id)
    assert not (played.folder / "archive").exists()


def test_lost_newest_records_are_found_by_the_head_that_was_noted(
    run: Run, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = next(line.split()[1] for line in run("verify").out.splitlines() if line.startswith("head "))
    assert head.startswith("12:")
    assert run("verify", "--head", head).code == 0
    other = f"12:{'0' * 64}"
    shown = run("verify", "--head", other)
    assert shown.code == 1
    assert "PROBLEM   record 12 has another hash than the one that is known" in shown.out
    shutil.copytree(played.folder, tmp_path, dirs_exist_ok=True)
    with sqlite3.connect(tmp_path / "records" / "ledger.sqlite") as db:
        db.execute("DELETE FROM journal WHERE key = '0000000000000012'")
    db.close()
    monkeypatch.setenv("SATREEL_DATA_DIR", str(tmp_path))
    assert run("verify").code == 0
    shown = run("verify", "--head", head)
    assert shown.code == 1
    assert "PROBLEM   the journal ends at record 11; record 12 is known" in shown.out
    for bad in ("12", "12:ab", f"0:{'0' * 64}", f"-1:{'0' * 64}"):
        shown = run("verify", "--head", bad)
        assert (shown.code, shown.out) == (2, "")


def relay_id(kind: str, bare: str) -> str:
    return base64.b64encode(f"{kind}:{bare}".encode()).decode()


def test_ids_as_graphql_shows_them(run: Run, played: Played) -> None:
    shown = run("explain-payout", relay_id("Round", played.round_id), relay_id("User", played.creator))
    assert shown == run("explain-payout", played.round_id, played.creator)
    assert shown.code == 0
    wrong = run("export", relay_id("Meme", played.round_id))
    assert (wrong.code, wrong.out) == (2, "")


def test_who_is_not_in_the_record(run: Run, played: Played) -> None:
    shown = run("explain-payout", played.round_id, "nonsense")
    told = "satreel-ledger: no such user in this round: 'nonsense', which is no user's id either\n"
    assert shown == Shown(2, "", told)
    stranger = uid("stranger", ManualClock().now_ns())
    shown = run("explain-payout", played.round_id, stranger)
    assert shown.code == 0
    assert f"user {stranger}: 0 sat" in shown.out
    assert shown.out.splitlines()[-1].startswith("this user earned nothing in this round")


def test_export_gives_the_record(run: Run, played: Played, tmp_path: Path) -> None:
    shown = run("export", played.round_id)
    digest = hashlib.sha256(shown.out.encode()).hexdigest()
    assert (shown.code, shown.err) == (0, f"{len(shown.out)} bytes, sha256 {digest}\n")
    assert parse(shown.out.encode()).round_id == played.round_id
    file = tmp_path / "record.json"
    file.write_text("older")
    assert run("export", played.round_id, "--to", file) == Shown(0, "", shown.err)
    assert file.read_text() == shown.out
    assert list(tmp_path.iterdir()) == [file]


def test_export_says_what_is_not_final(run: Run, played: Played) -> None:
    shown = run("export", played.open_id)
    assert shown.err.startswith("the round is OPEN: its record is not final\n")


def test_a_payout_is_explained(run: Run, played: Played, tmp_path: Path) -> None:
    shown = run("explain-payout", played.round_id, played.creator)
    assert (shown.code, shown.err) == (0, "")
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    meme = uid("cat", ManualClock().now_ns())
    assert lines[0] == f"round {played.round_id}: DISTRIBUTED, rules version 1"
    assert f"meme {meme}" in lines
    assert "takings 16 s × 1 sat = 16 sat" in lines
    assert f"creator's part floor(7 × 1000 / 10000) = 0 sat for user {played.creator}" in lines
    assert lines[-1] == "every recomputed amount of the round equals the recorded one"
    # 2 of 8 seconds as the first owner, and the pool of 16 - 2 - 2.
    assert lines[-2] == f"user {played.creator}: 14 sat"
    file = tmp_path / "record.json"
    run("export", played.round_id, "--to", file)
    again = run("explain-payout", played.round_id, played.creator, "--record", file, ledger=False)
    assert again == shown
    everybody = run("explain-payout", played.round_id)
    assert everybody.out.splitlines()[-2] == "all together: 16 sat"


def test_a_wrong_record_is_found(run: Run, played: Played, tmp_path: Path) -> None:
    record = json.loads(run("export", played.round_id).out)
    record["payouts"][0][3] += 1
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record))
    shown = run("explain-payout", played.round_id, "--record", file, ledger=False)
    assert shown.code == 1
    assert "MISMATCH  payout of rank 1: recorded 13 sat to user" in shown.out
    assert shown.out.splitlines()[-1] == "the record is wrong in 1 places"


def test_what_cannot_be_answered_is_told_in_a_line(run: Run, played: Played, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    run("export", played.round_id, "--to", record)
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    unknown = uid("unknown")
    newest = f"the newest is {played.open_id}"
    cases = {
        f"no round {unknown} in this journal of 12 records: {newest}": ("export", unknown),
        f"no round {unknown} in": ("explain-payout", unknown),
        f"{record}: this is the record of round {played.round_id}": (
            "explain-payout", unknown, "--record", record,
        ),
        f"{bad}: format: missing": ("explain-payout", unknown, "--record", bad),
        "/none: No such file or directory": ("explain-payout", unknown, "--record", tmp_path / "none"),
        f"{tmp_path}/none/x: No such file": ("export", played.round_id, "--to", tmp_path / "none" / "x"),
    }  # fmt: skip
    for told, arguments in cases.items():
        shown = run(*arguments)
        assert (shown.code, shown.out, shown.err.count("\n")) == (2, "", 1), shown
        assert shown.err.startswith("satreel-ledger: ")
        assert told in shown.err


def test_a_broken_journal_is_told(
    run: Run, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_it() -> None:
        async with open_store(LedgerSettings(data_dir=tmp_path), SETS) as store:
            await store.create("journal", f"{1:016d}", {"data": b"x", "hash": b"y"})

    asyncio.run(break_it())
    monkeypatch.setenv("SATREEL_DATA_DIR", str(tmp_path))
    assert run("export", played.round_id) == Shown(2, "", "satreel-ledger: record 1 was changed\n")
    shown = run("verify")
    assert shown.code == 1
    assert "PROBLEM   record 1 was changed" in shown.out


def test_the_process_itself(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATREEL_DATA_DIR", str(played.folder))
    export = [sys.executable, "-m", "services.ledger", "export", played.round_id]
    explain = [sys.executable, "-m", "services.ledger", "explain-payout", played.round_id, "--record", "-"]
    record = subprocess.run(export, capture_output=True, check=True).stdout
    shown = subprocess.run(explain, capture_output=True, check=True, input=record).stdout
    assert shown.decode().endswith("every recomputed amount of the round equals the recorded one\n")
    console = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["satreel-ledger"]
    module, _, name = console.partition(":")
    assert callable(getattr(import_module(module), name))
