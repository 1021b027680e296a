from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from satreel.ledger.v1 import journal_pb2, ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh.clock import ManualClock, SystemClock
from mesh.errors import Code, Exhausted
from mesh.records import Record
from services.ledger.adapters.journal import READ_MAX
from services.ledger.app.journal import BATCH_MAX, Fenced, Head, JournalBroken, Unresolved
from services.ledger.app.orders import Order, QueueFull
from services.ledger.app.replay import recover
from services.ledger.app.verify import verify
from services.ledger.domain import audit
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.rpc.read import order, transfers_order
from tests.ledger.stores import Fault, Instance, MemoryStore, alone, journal_of, led
from tests.ledger.world import uid
from tests.resting import TURNS

CLOCK = ManualClock()


class RunningClock(SystemClock):
    """Real time, counted from where CLOCK stands: ids carry their time."""

    def __init__(self) -> None:
        self._shift_ns = CLOCK.now_ns() - super().now_ns()

    def now_ns(self) -> int:
        return super().now_ns() + self._shift_ns


def deposit(number: int, user: str = "a", sats: int = 1_000) -> Order:
    one = ledger_pb2.Deposit(
        id=uid(f"d{number}", CLOCK.now_ns()),
        user_id=user,
        amount_sats=sats,
        txid=f"{number:064x}",
        block_hash="b" * 64,
    )
    return order(credit_deposits=pb.CreditDepositsRequest(deposits=[one]))


def pay(name: str, *amounts: int) -> Order:
    asked = [
        ledger_pb2.Transfer(
            id=uid(f"{name}{place}", CLOCK.now_ns()),
            kind=ledger_pb2.TRANSFER_KIND_POST, debit_account="user:a",
            credit_account="user:b", asset="sat", amount=amount,
        )
        for place, amount in enumerate(amounts)
    ]  # fmt: skip
    return transfers_order("market", pb.CreateTransfersRequest(transfers=asked))


def hold(name: str, amount: int, *, lasts_s: int) -> Order:
    asked = ledger_pb2.Transfer(
        id=uid(name, CLOCK.now_ns()),
        kind=ledger_pb2.TRANSFER_KIND_HOLD, debit_account="user:a",
        credit_account="user:b", asset="sat", amount=amount, hold_expires_s=lasts_s,
    )  # fmt: skip
    return transfers_order("market", pb.CreateTransfersRequest(transfers=[asked]))


async def balance(instance: Instance, user: str) -> int:
    def question(machine: Any, _: Head) -> int:
        books = machine.books
        number = books.find(f"user:{user}")
        return 0 if number is None else int(books.balance[number])

    return await instance.ledger.ask(question)


async def replayed(store: MemoryStore) -> str:
    machine, _ = await recover(journal_of(store, CLOCK))
    assert audit.problems(machine) == []
    return audit.digest(machine)


async def digest(instance: Instance) -> str:
    return await instance.ledger.ask(lambda machine, _: audit.digest(machine))


async def test_what_was_answered_is_there_after_a_restart() -> None:
    store = MemoryStore()
    async with led(store) as one:
        await one.ledger.submit(deposit(1))
        await one.ledger.submit(pay("t", 300))
        before = await digest(one)
    assert one.serving == [True, False]
    async with led(store, "two") as two:
        assert await digest(two) == before == await replayed(store)
        again = await two.ledger.submit(pay("t", 300))
        assert again == [(Reason.OK, "")]
        assert await balance(two, "b") == 300


async def test_commands_share_a_record() -> None:
    store = MemoryStore()
    async with led(store) as one:
        await one.ledger.submit(deposit(1))
        creates = store.creates
        await asyncio.gather(*(one.ledger.submit(pay(f"t{number}", 1)) for number in range(500)))
        assert store.creates <= creates + 2
        await asyncio.gather(*(one.ledger.submit(pay(f"u{number}", *[0] * 999)) for number in range(5)))
        for head, changes in one.told.news:
            assert len(changes.postings) <= BATCH_MAX, head
    assert [head.sequence for head, _ in one.told.news] == list(range(1, len(store.records) + 1))


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.AWAY, Fault.DOUBT_DONE, Fault.DOUBT_NOT_DONE])
async def test_a_write_in_trouble_is_done_once(fault: Fault) -> None:
    store, clock = MemoryStore(), RunningClock()
    one = Instance(journal_of(store, clock), clock, "one")
    await one.lead()
    store.faults = [fault, fault, fault]
    await one.ledger.submit(deposit(1))
    await one.ledger.submit(pay("t", 10))
    assert await balance(one, "b") == 10
    await one.kill()
    assert len(store.records) == 3
    assert (await verify(alone(journal_of(store, CLOCK)))).problems == ()


async def test_a_late_write_changes_nothing() -> None:
    store, clock = MemoryStore(), RunningClock()
    one = Instance(journal_of(store, clock), clock, "one")
    await one.lead()
    store.faults = [Fault.DOUBT_LATE]
    await one.ledger.submit(deposit(1))
    store.land_late_writes()
    await one.ledger.submit(pay("t", 10))
    before = await digest(one)
    await one.kill()
    assert await replayed(store) == before


@pytest.mark.parametrize(("fault", "moved"), [(Fault.FREEZE, 0), (Fault.FREEZE_DONE, 10)])
async def test_a_crash_between_append_and_reply(fault: Fault, moved: int) -> None:
    store = MemoryStore()
    one = Instance(journal_of(store, CLOCK), CLOCK, "one")
    await one.lead()
    await one.ledger.submit(deposit(1))
    store.faults = [fault]
    asked = asyncio.create_task(one.ledger.submit(pay("t", 10)))
    await store.troubled.wait()
    await one.kill()
    with pytest.raises(Refused) as refusal:
        await asked
    assert refusal.value.number is Reason.NOT_LEADER
    async with led(store, "two") as two:
        assert await balance(two, "b") == moved
        for _ in range(2):
            assert await two.ledger.submit(pay("t", 10)) == [(Reason.OK, "")]
            assert await balance(two, "b") == 10


async def test_a_late_leader_is_fenced() -> None:
    store = MemoryStore()
    old = Instance(journal_of(store, CLOCK), CLOCK, "old")
    await old.lead()
    await old.ledger.submit(deposit(1))
    new = Instance(journal_of(store, CLOCK), CLOCK, "new")
    await new.lead()
    # The old leader does not know yet. Its write fails, and it says so to whoever asked.
    with pytest.raises(Refused) as refusal:
        await old.ledger.submit(pay("lost", 10))
    assert refusal.value.number is Reason.NOT_LEADER
    assert isinstance(await old.fall(), Fenced)
    assert old.serving == [True, False]
    with pytest.raises(Refused):
        await old.ledger.ask(lambda machine, _: machine)
    assert await balance(new, "b") == 0
    await new.ledger.submit(pay("kept", 10))
    assert await replayed(store) == await digest(new)
    await new.kill()


async def test_a_frozen_leader_wakes_up_too_late() -> None:
    store = MemoryStore()
    old = Instance(journal_of(store, CLOCK), CLOCK, "old")
    await old.lead()
    await old.ledger.submit(deposit(1))
    store.faults = [Fault.DOUBT_LATE]
    asked = asyncio.create_task(old.ledger.submit(pay("t", 10)))
    await store.troubled.wait()  # the old leader waits for its next try while its clock stands still
    async with led(store, "new") as new:
        store.land_late_writes()
        await CLOCK.advance(1)
        with pytest.raises(Refused):
            await asked
        assert isinstance(await old.fall(), Fenced)
        assert await balance(new, "b") == 0
        assert await replayed(store) == await digest(new)


async def test_what_is_written_out_of_office_is_not_told() -> None:
    store, clock = MemoryStore(), ManualClock()
    old = Instance(journal_of(store, clock), clock, "old")
    await old.lead()
    await old.ledger.submit(deposit(1))
    told = len(old.told.news)
    store.faults = [Fault.BUSY]
    asked = asyncio.create_task(old.ledger.submit(pay("t", 10)))
    await store.troubled.wait()
    # It stands still. Another leads, and what that one writes is archived: the number is free again.
    old.in_office = False
    await clock.advance(1)
    with pytest.raises(Refused) as refusal:
        await asked
    assert refusal.value.number is Reason.NOT_LEADER
    assert isinstance(await old.fall(), Unresolved)
    assert len(store.records) == 3
    assert len(old.told.news) == told


async def test_who_is_out_of_office_answers_nothing() -> None:
    async with led(MemoryStore()) as one:
        await one.ledger.submit(deposit(1))
        one.in_office = False
        for call in (balance(one, "a"), one.ledger.submit(pay("t", 10))):
            with pytest.raises(Refused) as refusal:
                await call
            assert refusal.value.number is Reason.NOT_LEADER


async def test_a_store_that_stays_away_ends_the_reign() -> None:
    store, clock = MemoryStore(), ManualClock()
    one = Instance(journal_of(store, clock), clock, "one")
    await one.lead()
    store.faults = [Fault.AWAY] * 100
    asked = asyncio.create_task(one.ledger.submit(deposit(1)))
    await clock.advance(30)
    with pytest.raises(Refused):
        await asked
    assert isinstance(await one.fall(), Unresolved)
    assert len(store.records) == 1


async def test_questions_see_only_what_is_durable() -> None:
    store = MemoryStore()
    one = Instance(journal_of(store, CLOCK), CLOCK, "one")
    await one.lead()
    await one.ledger.submit(deposit(1))
    store.faults = [Fault.FREEZE]
    asked = asyncio.create_task(one.ledger.submit(pay("t", 10)))
    await store.troubled.wait()
    question = asyncio.create_task(balance(one, "b"))
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert not question.done()
    await one.kill()
    for waiting in (asked, question):
        with pytest.raises(Refused):
            await waiting


async def test_a_command_too_big_for_a_record_is_refused_and_ends_no_reign() -> None:
    request = pb.CreateTransfersRequest()
    for number in range(BATCH_MAX):
        request.transfers.add(id=uid(f"t{number}"), asset="🦀" * 64, memo="🦀" * 128, debit_account="a" * 128)
    async with led(MemoryStore()) as leader:
        with pytest.raises(Refused) as refusal:
            await leader.ledger.submit(transfers_order("market", request))
        assert refusal.value.number is Reason.COMMAND_TOO_BIG
        assert refusal.value.code is Code.INVALID_ARGUMENT
        assert leader.ledger.leading
        await leader.ledger.submit(deposit(1))


async def test_a_full_queue_refuses() -> None:
    store = MemoryStore()
    async with led(store, queue_max=3) as one:
        await one.ledger.submit(deposit(1))
        before = await digest(one)
        store.faults = [Fault.FREEZE]
        waiting = [asyncio.create_task(one.ledger.submit(pay("first", 1)))]
        await store.troubled.wait()  # it is being written; those that follow wait
        waiting += [asyncio.create_task(one.ledger.submit(pay(f"t{number}", 1))) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as full:
            await one.ledger.submit(pay("too many", 1))
        assert isinstance(full.value, Exhausted)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await replayed(store) == before


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    store = MemoryStore()
    async with led(store) as one:
        await one.ledger.submit(deposit(1))
        before = await digest(one)
        gone, stays = (asyncio.create_task(one.ledger.submit(pay(name, 1))) for name in ("gone", "stays"))
        await asyncio.sleep(0)  # both wait for the writer
        gone.cancel()
        await stays
        told = await replayed(store)
        assert told == await digest(one) != before
    alone = MemoryStore()
    async with led(alone) as one:
        for asked in (deposit(1), pay("stays", 1)):
            await one.ledger.submit(asked)
        assert await digest(one) == told


@pytest.mark.parametrize("lost", [2, READ_MAX - 1, READ_MAX, READ_MAX + 1, 2 * READ_MAX])
async def test_a_lost_record_is_found_wherever_it_was(lost: int) -> None:
    """Also the last of those that are read in one go."""
    store = MemoryStore()
    async with led(store) as one:
        for number in range(2 * READ_MAX):
            await one.ledger.submit(deposit(number + 1))
    assert len(store.records) > 2 * READ_MAX
    del store.records[sorted(store.records)[lost - 1]]
    finding = await verify(alone(journal_of(store, CLOCK)))
    assert finding.head.sequence == lost - 1
    assert len(finding.problems) == 1


@pytest.mark.parametrize("harm", ["edit", "gap", "swap", "forge"])
async def test_a_harmed_journal_is_found(harm: str) -> None:
    store = MemoryStore()
    async with led(store) as one:
        for number in range(4):
            await one.ledger.submit(deposit(number + 1))
    keys = sorted(store.records)
    good = store.records[keys[2]]
    if harm == "edit":
        data = bytearray(good.blob("data"))
        data[-1] ^= 1
        store.records[keys[2]] = Record(keys[2], {"data": bytes(data), "hash": good.blob("hash")}, 1)
    elif harm == "gap":
        del store.records[keys[2]]
    elif harm == "swap":
        store.records[keys[2]], store.records[keys[3]] = store.records[keys[3]], good
    else:
        record = journal_pb2.JournalRecord.FromString(good.blob("data"))
        del record.commands[:]
        data = bytearray(record.SerializeToString())
        store.records[keys[2]] = Record(
            keys[2], {"data": bytes(data), "hash": hashlib.sha256(data).digest()}, 1
        )
    finding = await verify(alone(journal_of(store, CLOCK)))
    assert len(finding.problems) == 1
    assert finding.head.sequence == 2
    two = Instance(journal_of(store, CLOCK), CLOCK, "two")
    await two.lead()
    assert isinstance(await two.fall(), JournalBroken)


async def test_time_alone_is_journaled_too() -> None:
    store, clock = MemoryStore(), ManualClock()
    one = Instance(journal_of(store, clock), clock, "one")
    await one.lead()
    await one.ledger.submit(deposit(1))
    hold = ledger_pb2.Transfer(
        id=uid("h", CLOCK.now_ns()),
        kind=ledger_pb2.TRANSFER_KIND_HOLD, debit_account="user:a", credit_account="user:b",
        asset="sat", amount=400, hold_expires_s=30,
    )  # fmt: skip
    await one.ledger.submit(transfers_order("market", pb.CreateTransfersRequest(transfers=[hold])))
    await clock.advance(29)
    held = lambda machine, _: machine.books.held[machine.books.find("user:a") or 0]  # noqa: E731 - asked twice
    assert await one.ledger.ask(held) == 400
    await clock.advance(1.1)
    assert await one.ledger.ask(held) == 0
    before = await digest(one)
    await one.kill()
    assert await replayed(store) == before
