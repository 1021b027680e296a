"""A machine from an image goes on exactly as the one it was taken of: random lives, and the horizon."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis.stateful import rule

from services.ledger.app.packing import pack, unpack
from services.ledger.domain import audit, image
from services.ledger.domain import commands as c
from services.ledger.domain.commands import Transfer, TransferKind
from services.ledger.domain.holds import HoldState
from services.ledger.domain.machine import Machine
from services.ledger.domain.pages import Written
from services.ledger.domain.reasons import Reason
from services.ledger.domain.window import HORIZON_DAYS
from tests.ledger.site import state
from tests.ledger.test_stateful import Lives
from tests.ledger.world import NS_PER_S, World, txid_of, uid

DAY_S = 86_400


def restored(machine: Machine) -> Machine:
    """By way of a snapshot's parts. These tests have no records, between which snapshots stand: what the last
    record has not sealed comes along by hand."""
    again = image.load(unpack(bytearray(b"".join(pack(image.dump(machine))))))
    again._trail = bytearray(machine._trail)
    again.books.unsealed = list(machine.books.unsealed)
    return again


class RestoredLives(Lives):
    """Every life beside the slow ledger, restored again and again on its way; its end is that of a replay."""

    @rule()
    def restore(self) -> None:
        world = self.twin.world
        before = image.dump(world.machine)
        world.machine = restored(world.machine)
        assert image.dump(world.machine) == before
        self.twin.compare()


TestRestoredLives = RestoredLives.TestCase
TestRestoredLives.settings = settings(max_examples=60, stateful_step_count=40)


class Old(World):
    """A world that has seen a month and a day since something of everything was done."""

    def __init__(self, *, restore: bool) -> None:
        super().__init__(checked=False)
        self.fund("v", 1_000)
        self.deposit = c.Deposit(uid("once"), "user:v", 100, txid_of("once"), 0, "b" * 64)
        self.undone = replace(self.deposit, id=uid("undone"), txid=txid_of("undone"))
        self.do(c.CreditDeposits((self.deposit, self.undone)))
        self.do(c.ReverseDeposit(uid("reverse"), uid("undone"), "orphaned"))
        self.paid = Transfer(uid("paid"), "user:v", "user:w", 10)
        self.transfer(self.paid)
        self.holds = [
            Transfer(uid(f"hold{number}"), "user:v", "chain:coins", 50, kind=TransferKind.HOLD)
            for number in range(3)
        ]
        self.transfer(*self.holds, caller="chain")
        self.transfer(self.ending(2, TransferKind.VOID_HOLD), caller="chain")
        self.wait((HORIZON_DAYS + 1) * DAY_S)
        if restore:
            self.machine = restored(self.machine)

    def ending(self, number: int, kind: TransferKind) -> Transfer:
        """With an id as old as the hold."""
        return Transfer(uid(f"end{number}"), kind=kind, hold_id=uid(f"hold{number}"))

    def at_now(self, name: str) -> str:
        return uid(name, self.now_ns)


@pytest.mark.parametrize("restore", [False, True])
def test_behind_the_horizon_ids_are_forgotten_and_refused(restore: bool) -> None:
    old = Old(restore=restore)
    assert old.machine.answers.by_span == {}
    assert old.transfer(old.paid) == [Reason.ID_OUT_OF_TIME]
    assert old.transfer(replace(old.paid, amount=11)) == [Reason.ID_OUT_OF_TIME]
    assert old.machine.answers.by_span == {}
    assert old.transfer(replace(old.paid, id=old.at_now("paid"))) == [Reason.OK]
    assert old.balance("user:w") == 20


@pytest.mark.parametrize("restore", [False, True])
def test_open_holds_outlive_the_horizon(restore: bool) -> None:
    old = Old(restore=restore)
    holds = old.machine.holds.by_id
    assert {hold.id: hold.state for hold in holds.values()} == {
        uid("hold0"): HoldState.OPEN, uid("hold1"): HoldState.OPEN,
    }  # fmt: skip
    assert old.account("user:v").held == 100
    ends = (old.ending(0, TransferKind.POST_HOLD), old.ending(1, TransferKind.VOID_HOLD))
    assert old.transfer(*ends, caller="chain") == [Reason.OK, Reason.OK]
    assert old.account("user:v").held == 0
    # Once ended, an old id is as good as none; nothing is done twice.
    again = old.transfer(*ends, caller="chain")
    assert Reason.OK not in again or old.account("user:v").held == 0
    assert old.balance("user:v") == 1_000 + 100 - 10 - 50
    assert audit.problems(old.machine) == []


@pytest.mark.parametrize("restore", [False, True])
def test_no_output_is_credited_twice_behind_the_horizon(restore: bool) -> None:
    old = Old(restore=restore)
    assert list(old.machine.deposits.by_id) == [uid("undone")]
    balance = old.balance("user:v")
    for deposit in (old.deposit, replace(old.deposit, id=old.at_now("again"))):
        old.refused(c.CreditDeposits((deposit,)), Reason.ID_REUSED)
    assert old.balance("user:v") == balance
    old.do(c.CreditDeposits((old.undone,)))
    assert old.balance("user:v") == balance
    # What was undone may come again from another block.
    old.do(c.CreditDeposits((replace(old.undone, block_hash="c" * 64),)))
    assert old.balance("user:v") == balance + 100


def test_restored_or_not_the_future_is_the_same() -> None:
    one, other = Old(restore=False), Old(restore=True)
    other.machine.trim(Written(10**9, 10**9, ""))
    for old in (one, other):
        old.transfer(replace(old.paid, id=old.at_now("paid")))
        old.transfer(old.ending(0, TransferKind.POST_HOLD), caller="chain")
        old.wait(3 * NS_PER_S / NS_PER_S)
    assert state(one.machine) == state(other.machine)
    assert one.machine.seal() == other.machine.seal()


def test_a_late_copy_of_a_reversal_undoes_nothing() -> None:
    world = World()
    deposit = c.Deposit(uid("d"), "user:v", 100, txid_of("d"), 0, "a" * 64)
    reversal = c.ReverseDeposit(uid("x"), deposit.id, "orphaned")
    world.do(c.CreditDeposits((deposit,)))
    world.do(reversal)
    world.wait(20 * DAY_S)
    world.do(c.CreditDeposits((replace(deposit, block_hash="b" * 64),)))
    world.wait((HORIZON_DAYS - 20) * DAY_S + DAY_S)
    world.do(reversal)
    assert world.balance("user:v") == 100
    world.wait(HORIZON_DAYS * DAY_S)
    world.refused(reversal, Reason.DEPOSIT_NOT_FOUND)
    assert not world.machine.deposits.reversals
