"""Bad input: each for its own reason, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.ledger.v1 import ledger_service_pb2 as pb

from mesh.errors import InvalidArgument
from mesh.interceptors.validation import validated
from services.ledger.domain import commands as c
from services.ledger.domain.answers import body_hash
from services.ledger.domain.books import INT64_MAX
from services.ledger.domain.commands import Transfer, TransferKind
from services.ledger.domain.meter import SESSIONS_MAX
from services.ledger.domain.reasons import Reason
from services.ledger.domain.sessions import StopReason
from tests.ledger.world import NS_PER_S, RATES, START_NS, World, txid_of, uid

OK = Reason.OK
HOLD, POST_HOLD, VOID_HOLD = TransferKind.HOLD, TransferKind.POST_HOLD, TransferKind.VOID_HOLD
CHAIN_MAX = 1_000


@pytest.fixture
def world() -> World:
    world = World()
    for user in ("a", "b", "v", "w"):
        world.fund(user, 1_000)
    world.open_round("a", "b")
    return world


def move(name: str, amount: int = 1, **more: object) -> Transfer:
    return Transfer(uid(name), "user:a", "user:b", amount, **more)  # type: ignore[arg-type] # fields of Transfer


def end(name: str, kind: TransferKind = POST_HOLD, amount: int = 0, hold: str = "h") -> Transfer:
    return Transfer(uid(name), kind=kind, hold_id=uid(hold), amount=amount)


def receipt_refused(world: World, reason: Reason, name: str, seconds: int) -> None:
    """The line of a report is refused for this reason; nothing changed."""
    before = world.digest
    assert [receipt.reason for receipt in world.report((name, seconds))] == [reason]
    assert world.digest == before


# Accounts, assets, amounts.


@pytest.mark.parametrize("kind", [TransferKind.POST, HOLD])
@pytest.mark.parametrize(
    ("reason", "wrong"),
    [
        # An account is made by its first transfer: one that nobody used has nothing to give.
        (Reason.INSUFFICIENT_FUNDS, {"debit_account": "user:nobody"}),
        (Reason.INSUFFICIENT_FUNDS, {"debit_account": "user:b", "credit_account": "user:a", "amount": 1_001}),
        (Reason.INSUFFICIENT_FUNDS, {"asset": "title:m-b"}),
        (Reason.INSUFFICIENT_FUNDS, {"asset": "title:m-a", "amount": 2}),
        (Reason.ACCOUNT_FORBIDDEN, {"debit_account": "nobody"}),
        (Reason.ACCOUNT_FORBIDDEN, {"credit_account": ""}),
        (Reason.ACCOUNT_FORBIDDEN, {"credit_account": "user:b c"}),
        (Reason.ACCOUNT_FORBIDDEN, {"credit_account": "pool:carried"}),
        (Reason.ACCOUNT_FORBIDDEN, {"debit_account": "chain:coins"}),
        (Reason.ACCOUNT_FORBIDDEN, {"debit_account": "mint", "asset": "title:m-a"}),
        (Reason.ACCOUNT_FORBIDDEN, {"credit_account": "platform:fee", "asset": "title:m-a"}),
        (Reason.ASSET_MISMATCH, {"asset": "title:nobody"}),
        (Reason.ASSET_MISMATCH, {"asset": ""}),
        (Reason.ASSET_MISMATCH, {"asset": "SAT"}),
        (Reason.AMOUNT_NOT_POSITIVE, {"amount": 0}),
        (Reason.AMOUNT_NOT_POSITIVE, {"amount": -1}),
        (Reason.AMOUNT_NOT_POSITIVE, {"amount": -(2**63)}),
        (Reason.SAME_ACCOUNT, {"credit_account": "user:a"}),
    ],
)
def test_transfers_and_holds(
    world: World, kind: TransferKind, reason: Reason, wrong: dict[str, object]
) -> None:
    bad = replace(move("t", kind=kind), **wrong)  # type: ignore[arg-type] # fields of Transfer
    world.transfer_refused(reason, bad)
    world.transfer_refused(reason, bad)


def test_a_contra_account_keeps_nothing_back(world: World) -> None:
    held = Transfer(uid("t"), "chain:coins", "user:a", 1, kind=HOLD)
    world.transfer_refused(Reason.ACCOUNT_FORBIDDEN, held, caller="chain")


def coins(name: str, to: str, amount: int, kind: int = TransferKind.POST) -> Transfer:
    return Transfer(uid(name), "chain:coins", to, amount, kind=kind)


def test_overflow_of_what_is_credited() -> None:
    world = World()
    world.fund("rich", INT64_MAX - 899)
    world.refused(deposits(("x", "rich", 900)), Reason.OVERFLOW)
    world.transfer_refused(Reason.OVERFLOW, coins("t", "user:rich", 900), caller="chain")
    world.fund("a", 900)
    for kind in (TransferKind.POST, HOLD):
        too_much = Transfer(uid(f"u{kind}"), "user:a", "user:rich", 900, kind=kind)
        world.transfer_refused(Reason.OVERFLOW, too_much)
        fills = Transfer(uid(f"f{kind}"), "user:a", "user:rich", 899, linked=True)
        world.transfer_refused(Reason.OVERFLOW, fills, replace(too_much, id=uid(f"o{kind}"), amount=1))
    assert world.transfer(Transfer(uid("last"), "user:a", "user:rich", 899)) == [OK]
    assert world.balance("user:rich") == INT64_MAX


def test_overflow_of_a_hold_that_is_posted() -> None:
    world = World()
    world.fund("a", 900)
    held = Transfer(uid("h"), "user:a", "user:rich", 900, kind=HOLD)
    assert world.transfer(held) == [OK]
    world.fund("rich", INT64_MAX - 899)
    world.transfer_refused(Reason.OVERFLOW, end("p"))
    world.transfer_refused(Reason.OVERFLOW, end("q", amount=900))
    assert world.transfer(end("r", amount=899)) == [OK]
    assert (world.balance("user:rich"), world.balance("user:a")) == (INT64_MAX, 1)


def test_overflow_of_the_contra_side() -> None:
    world = World()
    world.fund("rich", INT64_MAX - 1_000)
    world.fund("a", 700)
    world.refused(deposits(("x", "a", 302)), Reason.OVERFLOW)
    world.refused(deposits(("x", "a", 151), ("y", "b", 151)), Reason.OVERFLOW)
    world.transfer_refused(Reason.OVERFLOW, coins("t", "user:a", 302), caller="chain")
    assert world.transfer(coins("u", "user:a", 301), caller="chain") == [OK]
    assert world.balance("chain:coins") == -(2**63)
    world.transfer_refused(Reason.OVERFLOW, coins("v", "user:b", 1), caller="chain")


def deposits(*lines: tuple[str, str, int]) -> c.CreditDeposits:
    return c.CreditDeposits(
        tuple(
            c.Deposit(uid(name), f"user:{to}", sats, txid_of(name), 0, "b" * 64) for name, to, sats in lines
        )
    )


# Chains.


@pytest.mark.parametrize("length", [1, 2, CHAIN_MAX])
def test_a_chain_that_never_ends(world: World, length: int) -> None:
    chain = [move(f"t{link}", linked=True) for link in range(length)]
    world.transfer_refused(Reason.LINKED_CHAIN_OPEN, *chain)
    world.transfer_refused(Reason.LINKED_CHAIN_OPEN, *chain)


def test_a_chain_that_never_ends_behind_one_that_does(world: World) -> None:
    batch = [move("1", 2, linked=True), move("2", 3), move("3", 5, linked=True), move("4", 7, linked=True)]
    assert world.transfer(*batch) == [OK, OK, Reason.LINKED_TRANSFER_FAILED, Reason.LINKED_CHAIN_OPEN]
    assert world.balance("user:b") == 1_005


@pytest.mark.parametrize("bad", [0, 1, 500, 998, 999])
def test_the_longest_chain_fails_whole(world: World, bad: int) -> None:
    chain = [move(f"t{link}", linked=link < CHAIN_MAX - 1) for link in range(CHAIN_MAX)]
    chain[bad] = replace(chain[bad], amount=0)
    world.transfer_refused(Reason.AMOUNT_NOT_POSITIVE, *chain)


def test_the_longest_chain_applies(world: World) -> None:
    chain = [move(f"t{link}", linked=link < CHAIN_MAX - 1) for link in range(CHAIN_MAX)]
    assert world.transfer(*chain) == [OK] * CHAIN_MAX
    assert (world.balance("user:a"), world.balance("user:b")) == (0, 2_000)


def wire(number: int) -> ledger_pb2.Transfer:
    return ledger_pb2.Transfer(
        id=uid(f"t{number}"), kind=ledger_pb2.TRANSFER_KIND_POST, debit_account="user:a",
        credit_account="user:b", asset="sat", amount=1, linked=True,
    )  # fmt: skip


@pytest.mark.parametrize("length", [1, 1_000])
def test_chains_that_keep_the_contract(length: int) -> None:
    validated(pb.CreateTransfersRequest(transfers=map(wire, range(length))))


@pytest.mark.parametrize("length", [0, 1_001])
def test_longer_chains_break_the_contract(length: int) -> None:
    with pytest.raises(InvalidArgument, match="transfers"):
        validated(pb.CreateTransfersRequest(transfers=map(wire, range(length))))


# Ids.


def test_the_id_of_a_transfer(world: World) -> None:
    first = move("t", 10)
    assert world.transfer(first) == [OK]
    for other in (
        replace(first, amount=11),
        replace(first, debit_account="user:v"),
        replace(first, credit_account="user:v"),
        replace(first, asset="title:m-a"),
        replace(first, memo="other"),
        replace(first, kind=HOLD),
        end("t"),
    ):
        world.transfer_refused(Reason.ID_REUSED, other)


def test_the_id_of_a_hold(world: World) -> None:
    first = move("h", 10, kind=HOLD, hold_expires_s=60)
    assert world.transfer(first) == [OK]
    for other in (
        replace(first, amount=9),
        replace(first, hold_expires_s=61),
        replace(first, kind=TransferKind.POST, hold_expires_s=0),
        replace(first, memo="other"),
        end("h"),
    ):
        world.transfer_refused(Reason.ID_REUSED, other)
    assert world.transfer(end("p", amount=4)) == [OK]
    for late in (end("p", amount=5), end("p"), end("p", VOID_HOLD), end("p", amount=4, hold="g")):
        world.transfer_refused(Reason.ID_REUSED, late)
    assert world.transfer(first, end("p", amount=4)) == [OK, OK], "the first answers stay"


def test_the_id_of_a_deposit(world: World) -> None:
    first = deposits(("d", "a", 10)).deposits[0]
    world.do(c.CreditDeposits((first,)))
    for other in (
        replace(first, amount_sats=11),
        replace(first, account="user:b"),
        replace(first, vout=1),
        replace(first, txid="e" * 64),
        replace(first, block_hash="c" * 64),
        replace(first, id=uid("e")),
    ):
        world.refused(c.CreditDeposits((other,)), Reason.ID_REUSED)
        world.refused(c.CreditDeposits((*deposits(("f", "b", 1)).deposits, other)), Reason.ID_REUSED)


@pytest.mark.parametrize(
    "wrong", [{"amount_sats": 11}, {"account": "user:b"}, {"vout": 1}, {"txid": "e" * 64}], ids=str
)
def test_the_id_of_a_reversed_deposit(world: World, wrong: dict[str, object]) -> None:
    first = deposits(("d", "a", 10)).deposits[0]
    world.do(c.CreditDeposits((first,)))
    world.do(c.ReverseDeposit(uid("x"), uid("d"), "orphaned"))
    again = replace(first, block_hash="c" * 64, **wrong)  # type: ignore[arg-type] # fields of Deposit
    world.refused(c.CreditDeposits((again,)), Reason.ID_REUSED)


def test_the_id_of_a_reversal(world: World) -> None:
    world.do(deposits(("d", "a", 10), ("e", "a", 20)))
    first = c.ReverseDeposit(uid("x"), uid("d"), "orphaned")
    answer = world.do(first)
    world.refused(replace(first, deposit_id=uid("e")), Reason.ID_REUSED)
    world.refused(replace(first, reason="double spend"), Reason.ID_REUSED)
    world.refused(replace(first, id=uid("y")), Reason.DEPOSIT_NOT_FOUND)
    world.refused(replace(first, id=uid("y"), deposit_id=uid("none")), Reason.DEPOSIT_NOT_FOUND)
    assert world.do(first) == answer


def test_the_id_of_a_session(world: World) -> None:
    first = c.OpenSession(uid("s"), "v", "m-a", 100)
    world.do(first)
    others = (replace(first, viewer_id="w"), replace(first, meme_id="m-b"), replace(first, budget_sats=99))
    for other in others:
        world.refused(other, Reason.ID_REUSED)
    world.do(c.CloseSession(uid("s"), "v"))
    for other in others:
        world.refused(other, Reason.ID_REUSED)
    assert world.do(first).stop is StopReason.CLOSED, "a repeat opens nothing"


def test_the_id_of_a_round(world: World) -> None:
    first = world.round_command("a", "b")
    for go_on in (world.lock, lambda: world.distribute([]), lambda: None):
        for other in (
            replace(first, locks_ns=first.locks_ns + 1),
            replace(first, starts_ns=first.starts_ns + 1),
            replace(first, entries=first.entries[::-1]),
            replace(first, parameters=replace(RATES, version=2)),
        ):
            world.refused(other, Reason.ID_REUSED)
        assert world.do(first).id == uid("r")
        go_on()


def test_the_id_of_a_payout(world: World) -> None:
    for name, viewer, meme in (("s", "v", "m-a"), ("t", "w", "m-b")):
        world.open_session(name, viewer, meme, 9)
        world.report((name, 9), after_s=9)
    world.lock()
    world.distribute(["m-a", "m-b"])
    world.refused(c.DistributePool(uid("r"), ("m-b", "m-a")), Reason.ID_REUSED)


def test_the_creator_of_a_title(world: World) -> None:
    world.refused(c.IssueTitle("m-a", "b"), Reason.TITLE_ALREADY_ISSUED)


HOUR_NS = 3_600 * NS_PER_S


@pytest.mark.parametrize("hours", [-31 * 24, 27], ids=["behind the horizon", "tomorrow"])
def test_ids_out_of_time(world: World, hours: int) -> None:
    wrong = uid("t", START_NS + hours * HOUR_NS)
    for kind in (TransferKind.POST, HOLD):
        world.transfer_refused(Reason.ID_OUT_OF_TIME, replace(move("t", kind=kind), id=wrong))
    chain = (move("1", linked=True), replace(move("2"), id=wrong))
    world.transfer_refused(Reason.ID_OUT_OF_TIME, *chain)
    world.refused(c.OpenSession(wrong, "v", "m-a", 100), Reason.ID_OUT_OF_TIME)


@pytest.mark.parametrize("hours", [-29 * 24, 25])
def test_ids_just_in_time(world: World, hours: int) -> None:
    assert world.transfer(replace(move("t"), id=uid("t", START_NS + hours * HOUR_NS))) == [OK]


def test_ids_to_the_millisecond(world: World) -> None:
    """Also among ids of the same hours, of which some are known already."""
    last_ns = START_NS + 26 * HOUR_NS - NS_PER_S // 1_000
    for number in range(3):
        assert world.transfer(replace(move("t"), id=uid(f"t{number}", last_ns))) == [OK]
    late = replace(move("t"), id=uid("u", START_NS + 26 * HOUR_NS))
    world.transfer_refused(Reason.ID_OUT_OF_TIME, late)
    world.wait(0.001)
    assert world.transfer(late) == [OK]


@pytest.mark.parametrize("memo", ["", "sale:7", "2|x"])
def test_every_field_of_a_plain_transfer_makes_its_body(world: World, memo: str) -> None:
    for name in ("1", "2", "3"):
        first = move(name, 7, memo=memo)
        assert world.transfer(first) == [OK]
        after = world.digest
        assert world.transfer(first) == [OK]
        assert world.digest == after
        for other in (
            replace(first, memo=f"{memo}x"),
            replace(first, amount=72),
            replace(first, debit_account="user:v"),
            replace(first, credit_account="user:v"),
            replace(first, kind=HOLD),
        ):
            world.transfer_refused(Reason.ID_REUSED, other)


def test_a_deposit_twice_in_one_command_counts_once(world: World) -> None:
    one = deposits(("d", "a", 10)).deposits[0]
    world.do(c.CreditDeposits((one, one)))
    assert world.balance("user:a") == 1_010


# Holds.


def to_post(world: World) -> None:
    assert world.transfer(end("first")) == [OK]


def to_part_post(world: World) -> None:
    assert world.transfer(end("first", amount=1)) == [OK]


def to_void(world: World) -> None:
    assert world.transfer(end("first", VOID_HOLD)) == [OK]


def to_expire(world: World) -> None:
    world.wait(30)


@pytest.mark.parametrize("ended", [to_post, to_part_post, to_void, to_expire])
@pytest.mark.parametrize("kind", [POST_HOLD, VOID_HOLD])
def test_a_hold_ends_once(world: World, ended: Callable[[World], None], kind: TransferKind) -> None:
    assert world.transfer(move("h", 400, kind=HOLD, hold_expires_s=30)) == [OK]
    ended(world)
    world.transfer_refused(Reason.HOLD_CLOSED, end("again", kind))
    world.wait(60)
    world.transfer_refused(Reason.HOLD_CLOSED, end("later", kind))
    assert world.account("user:a").held == 0


def test_a_hold_ends_once_within_a_chain(world: World) -> None:
    assert world.transfer(move("h", 400, kind=HOLD)) == [OK]
    for first in (POST_HOLD, VOID_HOLD):
        chain = (replace(end(f"1{first}", first), linked=True), end(f"2{first}"))
        world.transfer_refused(Reason.HOLD_CLOSED, *chain)
    assert world.transfer(end("p")) == [OK]


def test_what_a_hold_cannot_do(world: World) -> None:
    assert world.transfer(move("h", 400, kind=HOLD)) == [OK]
    for kind in (POST_HOLD, VOID_HOLD):
        world.transfer_refused(Reason.HOLD_NOT_FOUND, end(f"n{kind}", kind, hold="none"))
        world.transfer_refused(Reason.ASSET_MISMATCH, replace(end(f"m{kind}", kind), asset="title:m-a"))
        world.transfer_refused(Reason.ACCOUNT_FORBIDDEN, end(f"f{kind}", kind), caller="gateway")
    world.transfer_refused(Reason.HOLD_EXCEEDED, end("e", amount=401))
    world.transfer_refused(Reason.AMOUNT_NOT_POSITIVE, end("z", amount=-1))
    assert world.transfer(move("t", 1)) == [OK]
    world.transfer_refused(Reason.HOLD_NOT_FOUND, end("o", hold="t"))


# Sessions and their seconds.


def test_seconds_of_a_session_that_nobody_opened(world: World) -> None:
    receipt_refused(world, Reason.SESSION_NOT_FOUND, "none", 1)
    world.refused(c.CloseSession(uid("none"), "v"), Reason.SESSION_NOT_FOUND)


def test_seconds_of_an_overlapping_session(world: World) -> None:
    world.open_session("s", "v", "m-a", 100)
    world.refused(c.OpenSession(uid("t"), "v", "m-a", 100), Reason.SESSION_OVERLAP)
    world.wait(5)
    receipt_refused(world, Reason.SESSION_NOT_FOUND, "t", 3)
    world.report(("s", 5))
    assert world.session("s").burned_sats == 5


@pytest.mark.parametrize("seconds", [0, 5])
def test_seconds_of_a_closed_session(world: World, seconds: int) -> None:
    world.open_session("s", "v", "m-a", 100)
    world.report(("s", seconds), after_s=8)
    world.do(c.CloseSession(uid("s"), "v"))
    receipt_refused(world, Reason.SESSION_CLOSED, "s", seconds + 1)
    receipt_refused(world, Reason.SESSION_CLOSED, "s", 10**9)
    world.refused(c.CloseSession(uid("s"), "w"), Reason.SESSION_NOT_FOUND)


def test_seconds_of_a_silent_or_voided_session(world: World) -> None:
    world.open_session("s", "v", "m-a", 100)
    world.report(("s", 4), after_s=5)
    world.wait(10)
    assert world.session("s").stop is StopReason.SILENCE
    receipt_refused(world, Reason.SESSION_CLOSED, "s", 5)
    world.open_session("t", "v", "m-a", 100)
    world.report(("t", 4), after_s=5)
    world.do(c.VoidRound(uid("r"), "mistake"))
    receipt_refused(world, Reason.SESSION_CLOSED, "t", 5)


@pytest.mark.parametrize("seconds", [6, 7, 601, 2**31 - 1])
def test_seconds_in_the_future(world: World, seconds: int) -> None:
    world.open_session("s", "v", "m-a", 100)
    world.wait(5.999_999_999)
    receipt_refused(world, Reason.SECOND_OUT_OF_RANGE, "s", seconds)
    world.report(("s", 5))
    receipt_refused(world, Reason.SECOND_OUT_OF_RANGE, "s", seconds)
    assert world.session("s").burned_sats == 5


def test_seconds_in_the_future_do_not_keep_a_session_alive(world: World) -> None:
    world.open_session("s", "v", "m-a", 100)
    world.wait(5)
    receipt_refused(world, Reason.SECOND_OUT_OF_RANGE, "s", 6)
    world.wait(5)
    assert world.session("s").stop is StopReason.SILENCE


def test_seconds_after_the_lock_are_not_counted(world: World) -> None:
    """No reason of its own: the receipt says that the session ended, and why."""
    world.wait(590.5)
    world.open_session("s", "v", "m-a", 100)
    world.wait(20)
    receipt = world.report(("s", 20))[0]
    assert (receipt.reason, receipt.seconds, receipt.burned_sats) == (OK, 9, 9)
    assert receipt.stop is StopReason.ROUND_LOCKED
    after = world.digest
    assert world.report(("s", 20))[0] == receipt
    assert world.digest == after


def test_reports_after_the_grace(world: World) -> None:
    world.wait(590)
    world.open_session("s", "v", "m-a", 100)
    world.report(("s", 4), after_s=15)
    world.wait(25)
    world.lock()
    for seconds in (5, 10, 11):
        receipt_refused(world, Reason.GRACE_OVER, "s", seconds)
    assert [receipt.reason for receipt in world.report(("s", 4), ("s", 3))] == [OK, OK]
    world.distribute(["m-a"])
    receipt_refused(world, Reason.GRACE_OVER, "s", 5)


def test_bad_lines_of_a_report_leave_the_good_ones(world: World) -> None:
    world.open_session("s", "v", "m-a", 100)
    world.open_session("t", "w", "m-a", 100)
    receipts = world.report(("t", 99), ("s", 4), ("none", 4), ("s", 5), ("s", 6), after_s=5)
    assert [receipt.reason for receipt in receipts] == [
        Reason.SECOND_OUT_OF_RANGE, OK, Reason.SESSION_NOT_FOUND, OK, Reason.SECOND_OUT_OF_RANGE,
    ]  # fmt: skip
    assert (world.session("s").burned_sats, world.session("t").burned_sats) == (5, 0)


def test_sessions_that_cannot_begin(world: World) -> None:
    for reason, bad in (
        (Reason.NOT_AN_ENTRY, c.OpenSession(uid("s"), "v", "none", 10)),
        (Reason.INSUFFICIENT_FUNDS, c.OpenSession(uid("s"), "v", "m-a", 1_001)),
        (Reason.INSUFFICIENT_FUNDS, c.OpenSession(uid("s"), "nobody", "m-a", 1)),
    ):
        world.refused(bad, reason)
    world.do(deposits(("d", "x", 500)))
    assert world.transfer(Transfer(uid("t"), "user:x", "user:a", 500)) == [OK]
    world.do(c.ReverseDeposit(uid("y"), uid("d"), "orphaned"))
    world.refused(c.OpenSession(uid("s"), "x", "m-a", 1), Reason.ACCOUNT_IN_DEBT)
    world.transfer_refused(Reason.ACCOUNT_IN_DEBT, Transfer(uid("u"), "user:x", "user:a", 1))
    world.wait(600)
    world.refused(c.OpenSession(uid("s"), "v", "m-a", 10), Reason.ROUND_NOT_ACTIVE)


def test_more_sessions_than_a_viewer_may_open(world: World) -> None:
    world.checked = False
    for number in range(1_000):
        world.open_session(f"s{number}", "v", "m-a", 1)
        world.do(c.CloseSession(uid(f"s{number}"), "v"))
    world.refused(c.OpenSession(uid("s"), "v", "m-a", 1), Reason.TOO_MANY_SESSIONS)
    world.open_session("other", "w", "m-a", 1)


# Rounds.


def test_rounds_that_are_not_or_not_any_more(world: World) -> None:
    for unknown in (c.LockRound(uid("n")), c.DistributePool(uid("n"), ()), c.VoidRound(uid("n"), "why")):
        world.refused(unknown, Reason.ROUND_NOT_FOUND)
    world.refused(c.DistributePool(uid("r"), ()), Reason.ROUND_NOT_ACTIVE)
    world.refused(world.round_command("a", name="r2"), Reason.ROUND_OVERLAP)
    world.lock()
    world.refused(c.DistributePool(uid("r"), ("m-a",)), Reason.RANKING_MISMATCH)
    world.do(c.VoidRound(uid("r"), "mistake"))
    for voided in (c.LockRound(uid("r")), c.DistributePool(uid("r"), ())):
        world.refused(voided, Reason.ROUND_VOIDED)


# What was found once.


def test_what_is_linked_is_answered_as_a_whole(world: World) -> None:
    """The same chain gets the first answers; a link alone, or in another chain, is another request."""
    first, second, third = move("1", linked=True), move("2"), move("3")
    for _ in range(2):
        assert world.transfer(first, second) == [OK, OK]
    before = world.digest
    for _ in range(2):
        assert world.transfer(first) == [Reason.ID_REUSED]
        assert world.transfer(first, third) == [Reason.ID_REUSED, Reason.LINKED_TRANSFER_FAILED]
        assert world.transfer(second) == [Reason.ID_REUSED]
        assert world.transfer(third) == [Reason.ID_REUSED]
    assert world.digest == before


def test_an_id_twice_in_a_chain(world: World) -> None:
    other = Transfer(uid("1"), "user:a", "user:b", 2)
    for _ in range(2):
        assert world.transfer(move("1", linked=True), other) == [
            Reason.LINKED_TRANSFER_FAILED, Reason.ID_REUSED,
        ]  # fmt: skip


def test_an_open_chain_is_not_the_one_that_ends(world: World) -> None:
    for _ in range(2):
        assert world.transfer(move("1", linked=True)) == [Reason.LINKED_CHAIN_OPEN]
        assert world.transfer(move("1", linked=True), move("2")) == [
            Reason.ID_REUSED, Reason.LINKED_TRANSFER_FAILED,
        ]  # fmt: skip


def test_overflow_of_debts() -> None:
    world = World()
    for user in ("a", "b"):
        world.do(deposits((user, user, INT64_MAX)))
        assert world.transfer(Transfer(uid(f"t{user}"), f"user:{user}", f"user:{user}x", INT64_MAX)) == [OK]
        if user == "a":
            world.do(c.ReverseDeposit(uid("ra"), uid("a"), "orphaned"))
    world.refused(c.ReverseDeposit(uid("rb"), uid("b"), "orphaned"), Reason.OVERFLOW)


def test_more_sessions_than_a_round_takes(world: World) -> None:
    for number in range(SESSIONS_MAX):
        world.machine.apply(c.OpenSession(uid(f"s{number}"), "v", "m-a", 3))
        world.machine.apply(c.CloseSession(uid(f"s{number}"), "v"))
    world.refused(c.OpenSession(uid("more"), "v", "m-a", 3), Reason.TOO_MANY_SESSIONS)
    assert world.open_session("other", "w", "m-a", 3).stop is StopReason.RUNNING


def test_tallies_are_told_of_their_own_round(world: World) -> None:
    world.open_session("s", "v", "m-a", 9)
    world.report(("s", 5), after_s=5)
    world.lock()
    world.distribute(["m-a"])
    world.wait(10)
    world.open_round("a", name="r2")
    changes = world.machine.take_changes()
    assert (changes.round_id, changes.tallies) == ("", ())


def test_a_forgotten_round_does_not_come_again() -> None:
    world = World()
    early = replace(world.round_command("a", name="r0"), round_id=uid("early", START_NS))
    world.do(c.IssueTitle("m-a", "a"))
    world.do(early)
    world.do(c.VoidRound(early.round_id, "mistake"))
    for number in range(1, 4):
        world.wait(10)
        world.open_round("a", name=f"r{number}")
        world.do(c.VoidRound(uid(f"r{number}"), "mistake"))
    world.refused(c.LockRound(early.round_id), Reason.ROUND_NOT_FOUND)
    world.refused(replace(early, starts_ns=world.now_ns), Reason.ID_OUT_OF_TIME)


def test_texts_of_a_transfer_are_told_apart() -> None:
    world = World()
    world.fund("a", 10)
    world.do(c.IssueTitle("m", "a"))
    plain = c.Transfer(uid("t"), "user:a", "user:b", 1, memo="x|title:m|False")
    title = c.Transfer(uid("t"), "user:a", "user:b", 1, asset="title:m", memo="x")
    assert body_hash(plain) != body_hash(title)
    assert world.transfer(plain) == [Reason.OK]
    world.transfer_refused(Reason.ID_REUSED, title)
    other = replace(title, asset="title", memo=":m|x")
    assert len({body_hash(one) for one in (title, other, replace(title, asset="", memo="title:m|x"))}) == 3


def test_a_meme_is_no_asset() -> None:
    world = World()
    world.do(c.IssueTitle("m", "a"))
    world.transfer_refused(Reason.ASSET_MISMATCH, c.Transfer(uid("t"), "user:a", "user:b", 1, asset="m"))
