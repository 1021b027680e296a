from __future__ import annotations

import pytest

from services.ledger.domain import commands as c
from services.ledger.domain.books import INT64_MAX
from services.ledger.domain.commands import Transfer, TransferKind
from services.ledger.domain.reasons import Reason
from services.ledger.domain.views import totals_of
from tests.ledger.world import World, uid

OK = Reason.OK
HOLD, POST_HOLD, VOID_HOLD = TransferKind.HOLD, TransferKind.POST_HOLD, TransferKind.VOID_HOLD


@pytest.fixture
def world() -> World:
    world = World()
    world.fund("a", 1_000)
    world.fund("b", 500)
    world.do(c.IssueTitle("m", "a"))
    return world


def pay(name: str, amount: int = 100, **more: object) -> Transfer:
    return Transfer(uid(name), "user:a", "user:b", amount, **more)  # type: ignore[arg-type] # fields of Transfer


def test_a_transfer_moves_money_once(world: World) -> None:
    assert world.transfer(pay("t")) == [OK]
    after = world.digest
    assert world.transfer(pay("t")) == [OK]
    assert world.digest == after
    assert (world.balance("user:a"), world.balance("user:b")) == (900, 600)


def test_an_id_with_another_body_is_refused(world: World) -> None:
    world.transfer(pay("t"))
    for other in (
        pay("t", 99),
        pay("t", memo="x"),
        pay("t", linked=True),
        Transfer(uid("t"), "user:b", "user:a", 100),
    ):
        closing = [pay("u", 1)] if other.linked else []
        before = world.digest
        assert world.transfer(other, *closing)[0] is Reason.ID_REUSED
        assert world.digest == before


def test_the_last_of_a_chain_is_not_the_same_transfer_alone(world: World) -> None:
    assert world.transfer(pay("s"), pay("t")) == [OK, OK]
    for _ in range(2):
        reasons = world.transfer(pay("u", linked=True), pay("t"))
        assert reasons == [Reason.LINKED_TRANSFER_FAILED, Reason.ID_REUSED]
    assert world.transfer(pay("t")) == [OK]


def test_no_text_of_a_transfer_runs_into_another(world: World) -> None:
    assert world.transfer(pay("t", 7, memo="8|m")) == [OK]
    other = Transfer(uid("t"), "user:a|user:b", "7", 8, memo="m")
    assert world.transfer(other) == [Reason.ID_REUSED]


def test_a_refused_id_stays_refused(world: World) -> None:
    world.transfer_refused(Reason.INSUFFICIENT_FUNDS, pay("t", 1_001))
    world.fund("a", 10_000)
    world.transfer_refused(Reason.INSUFFICIENT_FUNDS, pay("t", 1_001))
    assert world.transfer(pay("t2", 1_001)) == [OK]


@pytest.mark.parametrize(
    ("reason", "transfer"),
    [
        (Reason.AMOUNT_NOT_POSITIVE, pay("t", 0)),
        (Reason.AMOUNT_NOT_POSITIVE, pay("t", -1)),
        (Reason.SAME_ACCOUNT, Transfer(uid("t"), "user:a", "user:a", 1)),
        (Reason.ASSET_MISMATCH, pay("t", 1, asset="title:nobody")),
        (Reason.ASSET_MISMATCH, pay("t", 1, asset="usd")),
        (Reason.INSUFFICIENT_FUNDS, pay("t", 1_001)),
        (Reason.INSUFFICIENT_FUNDS, Transfer(uid("t"), "user:nobody", "user:a", 1)),
        (Reason.INSUFFICIENT_FUNDS, Transfer(uid("t"), "user:b", "user:a", 1, asset="title:m")),
        (Reason.ACCOUNT_FORBIDDEN, Transfer(uid("t"), "user:a", "chain:coins", 1)),
        (Reason.ACCOUNT_FORBIDDEN, Transfer(uid("t"), "mint", "user:a", 1, asset="title:m")),
        (Reason.ACCOUNT_FORBIDDEN, Transfer(uid("t"), "user:a", "takings:r:m", 1)),
        (Reason.ACCOUNT_FORBIDDEN, Transfer(uid("t"), "user:a", "user:a\ntitle:m", 1)),
        (Reason.ACCOUNT_FORBIDDEN, Transfer(uid("t"), "debts", "user:a", 1)),
        (Reason.LINKED_CHAIN_OPEN, pay("t", linked=True)),
        (Reason.HOLD_NOT_FOUND, Transfer(uid("t"), kind=POST_HOLD, hold_id=uid("none"))),
        (Reason.HOLD_NOT_FOUND, Transfer(uid("t"), kind=VOID_HOLD, hold_id=uid("none"))),
    ],
)
def test_bad_transfers_change_nothing(world: World, reason: Reason, transfer: Transfer) -> None:
    world.transfer_refused(reason, transfer)


def test_services_touch_only_their_accounts(world: World) -> None:
    world.transfer_refused(
        Reason.ACCOUNT_FORBIDDEN, Transfer(uid("t1"), "user:a", "platform:fee", 1), caller="chain"
    )
    world.transfer_refused(
        Reason.ACCOUNT_FORBIDDEN, Transfer(uid("t2"), "user:a", "platform:float", 1), caller="market"
    )
    world.transfer_refused(Reason.ACCOUNT_FORBIDDEN, pay("t3", 1, asset="title:m"), caller="chain")
    world.transfer_refused(Reason.ACCOUNT_FORBIDDEN, pay("t4"), caller="gateway")
    assert world.transfer(Transfer(uid("t5"), "user:a", "chain:coins", 1), caller="chain") == [OK]
    assert world.transfer(Transfer(uid("t6"), "user:a", "platform:fee", 1), caller="market") == [OK]
    world.transfer_refused(
        Reason.ACCOUNT_FORBIDDEN, Transfer(uid("t7"), "chain:cold", "user:a", 1), caller="market"
    )
    # Coins on their way to the cold address: what is owed in all stays the same.
    assert world.transfer(Transfer(uid("t8"), "chain:cold", "chain:coins", 300), caller="chain") == [OK]
    assert (world.balance("chain:cold"), totals_of(world.machine.books).coins_owed) == (-300, 1_499)


def test_balances_stay_within_int64(world: World) -> None:
    world.fund("rich", INT64_MAX - 2_000)
    world.transfer_refused(
        Reason.OVERFLOW, Transfer(uid("t"), "chain:coins", "user:rich", 2_001), caller="chain"
    )
    many = c.Deposit(uid("d"), "user:rich", 2_001, "e" * 64, 0, "b" * 64)
    world.refused(c.CreditDeposits((many,)), Reason.OVERFLOW)


def test_linked_transfers_apply_together(world: World) -> None:
    sale = (
        Transfer(uid("s1"), "user:b", "user:a", 490, linked=True),
        Transfer(uid("s2"), "user:b", "platform:fee", 10, linked=True),
        Transfer(uid("s3"), "user:a", "user:b", 1, asset="title:m"),
    )
    assert world.transfer(*sale) == [OK] * 3
    assert world.machine.titles.get("m").owner_id == "b"
    after = world.digest
    assert world.transfer(*sale) == [OK] * 3
    assert world.digest == after


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_one_bad_link_undoes_all(world: World, broken: int) -> None:
    world.transfer(Transfer(uid("h"), "user:a", "user:b", 50, kind=HOLD))
    chain = [
        Transfer(uid("l0"), "user:b", "user:a", 100, linked=True),
        Transfer(uid("l1"), "user:a", "user:b", 20, kind=HOLD, linked=True),
        Transfer(uid("l2"), kind=POST_HOLD, hold_id=uid("h"), linked=True),
        Transfer(uid("l3"), "user:a", "user:b", 1, asset="title:m"),
    ]
    chain[broken] = Transfer(uid(f"l{broken}"), "user:b", "user:a", 10_000, linked=broken < 3)
    world.transfer_refused(Reason.INSUFFICIENT_FUNDS, *chain)
    # Every id of the chain has its answer for ever.
    assert world.transfer(*chain)[broken] is Reason.INSUFFICIENT_FUNDS
    assert world.transfer(Transfer(uid("next"), "user:a", "user:b", 1)) == [OK]


def test_a_chain_with_a_known_or_doubled_id_is_refused(world: World) -> None:
    world.transfer(pay("t"))
    world.transfer_refused(Reason.ID_REUSED, pay("n1", linked=True), pay("t"))
    world.transfer_refused(Reason.ID_REUSED, pay("n2", linked=True), pay("n2"))


def test_later_links_may_spend_what_earlier_ones_brought(world: World) -> None:
    assert world.transfer(pay("1", 1_000, linked=True), Transfer(uid("2"), "user:b", "user:a", 1_500)) == [
        OK,
        OK,
    ]
    assert world.balance("user:a") == 1_500


def hold(world: World, amount: int = 400, **more: int) -> None:
    assert world.transfer(Transfer(uid("h"), "user:a", "user:b", amount, kind=HOLD, **more)) == [OK]  # type: ignore[arg-type]


def test_a_hold_keeps_money_back(world: World) -> None:
    hold(world)
    assert (world.account("user:a").balance, world.account("user:a").held) == (1_000, 400)
    world.transfer_refused(Reason.INSUFFICIENT_FUNDS, pay("t", 601))
    assert world.transfer(pay("u", 600)) == [OK]


@pytest.mark.parametrize(("asked", "moved"), [(0, 400), (400, 400), (150, 150)])
def test_a_hold_is_posted_whole_or_in_part(world: World, asked: int, moved: int) -> None:
    hold(world)
    assert world.transfer(Transfer(uid("p"), kind=POST_HOLD, hold_id=uid("h"), amount=asked)) == [OK]
    account = world.account("user:a")
    assert (account.balance, account.held, world.balance("user:b")) == (1_000 - moved, 0, 500 + moved)
    world.transfer_refused(Reason.HOLD_CLOSED, Transfer(uid("p2"), kind=POST_HOLD, hold_id=uid("h")))
    world.transfer_refused(Reason.HOLD_CLOSED, Transfer(uid("v2"), kind=VOID_HOLD, hold_id=uid("h")))
    assert world.transfer(Transfer(uid("p"), kind=POST_HOLD, hold_id=uid("h"), amount=asked)) == [OK]


def test_no_more_than_the_hold_is_posted(world: World) -> None:
    hold(world)
    world.transfer_refused(
        Reason.HOLD_EXCEEDED, Transfer(uid("p"), kind=POST_HOLD, hold_id=uid("h"), amount=401)
    )
    world.transfer_refused(
        Reason.ASSET_MISMATCH, Transfer(uid("q"), kind=POST_HOLD, hold_id=uid("h"), asset="title:m")
    )
    world.transfer_refused(
        Reason.ACCOUNT_FORBIDDEN, Transfer(uid("r"), kind=POST_HOLD, hold_id=uid("h")), caller="content"
    )


def test_a_voided_hold_gives_back(world: World) -> None:
    hold(world)
    assert world.transfer(Transfer(uid("v"), kind=VOID_HOLD, hold_id=uid("h"))) == [OK]
    assert world.account("user:a").held == 0
    world.transfer_refused(Reason.HOLD_CLOSED, Transfer(uid("p"), kind=POST_HOLD, hold_id=uid("h")))


def test_a_hold_expires_to_the_second(world: World) -> None:
    hold(world, hold_expires_s=30)
    world.wait(29.999)
    assert world.account("user:a").held == 400
    world.wait(0.001)
    assert world.account("user:a").held == 0
    world.transfer_refused(Reason.HOLD_CLOSED, Transfer(uid("p"), kind=POST_HOLD, hold_id=uid("h")))


def test_a_title_can_be_held_and_sold_once(world: World) -> None:
    offer = Transfer(uid("h"), "user:a", "user:b", 1, kind=HOLD, asset="title:m")
    assert world.transfer(offer) == [OK]
    world.transfer_refused(
        Reason.INSUFFICIENT_FUNDS, Transfer(uid("t"), "user:a", "user:c", 1, asset="title:m")
    )
    assert world.transfer(Transfer(uid("p"), kind=POST_HOLD, hold_id=uid("h"), asset="title:m")) == [OK]
    assert world.machine.titles.get("m").owner_id == "b"


def test_titles_are_issued_once(world: World) -> None:
    assert world.do(c.IssueTitle("m", "a")).creator_id == "a"
    world.refused(c.IssueTitle("m", "b"), Reason.TITLE_ALREADY_ISSUED)
