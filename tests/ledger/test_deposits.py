from __future__ import annotations

from dataclasses import replace

from services.ledger.domain import commands as c
from services.ledger.domain import image
from services.ledger.domain.commands import Transfer, TransferKind
from services.ledger.domain.reasons import Reason
from services.ledger.domain.views import totals_of
from tests.ledger.world import World, uid

DEPOSIT = c.Deposit(uid("d"), "user:a", 1_000, "a" * 64, 0, "1" * 64)
REVERSAL = c.ReverseDeposit(uid("r"), uid("d"), "block orphaned")


def credited(*deposits: c.Deposit) -> World:
    world = World()
    world.do(c.CreditDeposits(deposits or (DEPOSIT,)))
    return world


def test_a_deposit_is_credited_once() -> None:
    world = credited()
    after = world.digest
    world.do(c.CreditDeposits((DEPOSIT, DEPOSIT)))
    assert world.digest == after
    assert totals_of(world.machine.books).coins_owed == world.balance("user:a") == 1_000


def test_one_bad_deposit_refuses_all() -> None:
    world = credited()
    fresh = replace(DEPOSIT, id=uid("e"), vout=1)
    world.refused(c.CreditDeposits((fresh, replace(DEPOSIT, amount_sats=999))), Reason.ID_REUSED)
    world.refused(c.CreditDeposits((fresh, replace(DEPOSIT, block_hash="2" * 64))), Reason.ID_REUSED)
    world.refused(c.CreditDeposits((fresh, replace(DEPOSIT, id=uid("f")))), Reason.ID_REUSED)
    for account in ("chain:coins", "chain:cold", "platform:fee", "pool:x", "bad name"):
        wrong = replace(fresh, id=uid("g"), account=account)
        world.refused(c.CreditDeposits((fresh, wrong)), Reason.ID_REUSED)
        world.refused(c.CreditDeposits((wrong,)), Reason.ACCOUNT_FORBIDDEN)


def test_a_reversal_takes_back_what_is_there() -> None:
    world = credited()
    reversal = world.do(REVERSAL)
    assert (reversal.taken_sats, reversal.debt_sats, world.balance("user:a")) == (1_000, 0, 0)
    after = world.digest
    assert world.do(REVERSAL) == reversal
    assert world.digest == after
    world.refused(replace(REVERSAL, reason="other"), Reason.ID_REUSED)
    world.refused(replace(REVERSAL, id=uid("r2")), Reason.DEPOSIT_NOT_FOUND)
    world.refused(replace(REVERSAL, id=uid("r3"), deposit_id=uid("none")), Reason.DEPOSIT_NOT_FOUND)


def test_what_was_spent_becomes_a_debt_that_later_credits_pay() -> None:
    world = credited()
    world.transfer(Transfer(uid("t"), "user:a", "user:b", 700))
    reversal = world.do(REVERSAL)
    assert (reversal.taken_sats, reversal.debt_sats) == (300, 700)
    assert world.account("user:a").debt == totals_of(world.machine.books).debts == 700
    world.transfer_refused(Reason.ACCOUNT_IN_DEBT, Transfer(uid("u"), "user:a", "user:b", 1))
    world.transfer(Transfer(uid("v"), "user:b", "user:a", 200))
    assert (world.account("user:a").debt, world.balance("user:a")) == (500, 0)
    world.fund("a", 600)
    assert (world.account("user:a").debt, world.balance("user:a")) == (0, 100)
    assert world.transfer(Transfer(uid("w"), "user:a", "user:b", 1)) == [Reason.OK]


def test_a_hold_outlives_a_debt_and_pays_it_when_released() -> None:
    world = credited()
    world.transfer(Transfer(uid("h1"), "user:a", "chain:coins", 400, kind=TransferKind.HOLD), caller="chain")
    world.transfer(Transfer(uid("h2"), "user:a", "chain:coins", 500, kind=TransferKind.HOLD), caller="chain")
    assert world.do(REVERSAL).debt_sats == 900
    # The withdrawal was sent already: its hold must be postable.
    post = Transfer(uid("p"), kind=TransferKind.POST_HOLD, hold_id=uid("h1"))
    assert world.transfer(post, caller="chain") == [Reason.OK]
    world.transfer(Transfer(uid("v"), kind=TransferKind.VOID_HOLD, hold_id=uid("h2")), caller="chain")
    assert (world.account("user:a").debt, world.balance("user:a")) == (400, 0)


def test_a_hold_that_expires_pays_a_debt() -> None:
    world = credited()
    kept = Transfer(uid("h"), "user:a", "chain:coins", 600, kind=TransferKind.HOLD, hold_expires_s=30)
    world.transfer(kept, caller="chain")
    assert world.do(REVERSAL).debt_sats == 600
    world.wait(30)
    assert (world.account("user:a").debt, world.balance("user:a")) == (0, 0)


def test_a_viewer_in_debt_opens_no_session_and_a_running_one_pays_its_debt_at_the_end() -> None:
    world = credited()
    world.open_round("m", "n")
    world.open_session("s", "a", "m-m", 600)
    world.do(REVERSAL)
    assert world.account("user:a").debt == 600
    world.refused(c.OpenSession(uid("s2"), "a", "m-n", 10), Reason.ACCOUNT_IN_DEBT)
    world.report(("s", 5), after_s=5)
    world.do(c.CloseSession(uid("s"), "a"))
    assert (world.account("user:a").debt, world.balance("user:a")) == (5, 0)


def test_a_deposit_comes_back_in_another_block() -> None:
    world = credited()
    world.do(REVERSAL)
    world.do(c.CreditDeposits((DEPOSIT,)))
    assert world.balance("user:a") == 0, "a late repeat of the first credit is a repeat"
    again = replace(DEPOSIT, block_hash="2" * 64)
    world.do(c.CreditDeposits((again,)))
    world.do(c.CreditDeposits((again,)))
    assert world.balance("user:a") == 1_000
    world.do(c.ReverseDeposit(uid("r2"), uid("d"), "orphaned again"))
    assert world.balance("user:a") == 0


def test_what_came_back_is_known_after_a_restart() -> None:
    world = credited()
    world.do(REVERSAL)
    again = replace(DEPOSIT, block_hash="2" * 64)
    world.do(c.CreditDeposits((again, replace(DEPOSIT, id=uid("other"), vout=1))))
    before = image.dump(world.machine)
    world.machine = image.load(before)
    assert image.dump(world.machine) == before
    balance = world.balance("user:a")
    world.do(c.CreditDeposits((DEPOSIT, again)))
    assert world.balance("user:a") == balance
    world.refused(c.CreditDeposits((replace(again, block_hash="3" * 64),)), Reason.ID_REUSED)
    world.refused(c.CreditDeposits((replace(again, amount_sats=1),)), Reason.ID_REUSED)
