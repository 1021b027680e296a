from __future__ import annotations

from dataclasses import replace

import pytest

from services.ledger.domain import commands as c
from services.ledger.domain import image, meter
from services.ledger.domain.commands import Transfer
from services.ledger.domain.reasons import Reason
from services.ledger.domain.rounds import RoundState
from services.ledger.domain.sessions import StopReason
from services.ledger.domain.views import totals_of, view_round
from tests.ledger import model
from tests.ledger.world import NS_PER_S, RATES, World, uid


@pytest.fixture
def world() -> World:
    world = World()
    for viewer in ("v", "w"):
        world.fund(viewer, 5_000)
    world.open_round("a", "b")
    return world


def status(world: World, session: str) -> tuple[int, int, StopReason]:
    found = world.machine.meter.get(uid(session))
    return found.seconds, found.burned, found.stop


def test_every_second_costs_a_satoshi(world: World) -> None:
    world.watch("s", "v", "m-a", 100)
    world.do(c.CloseSession(uid("s"), "v"))
    assert status(world, "s") == (100, 100, StopReason.CLOSED)
    assert (world.balance("user:v"), world.account("user:v").held) == (4_900, 0)


@pytest.mark.parametrize(("seconds", "burned"), [(0, 0), (2, 0), (3, 3), (4, 4)])
def test_less_than_three_seconds_are_free(world: World, seconds: int, burned: int) -> None:
    world.watch("s", "v", "m-a", seconds)
    world.do(c.CloseSession(uid("s"), "v"))
    assert world.balance("user:v") == 5_000 - burned
    assert world.lock().tallies[0].takings == burned


def test_reports_may_be_repeated_and_reordered(world: World) -> None:
    world.open_session("s", "v", "m-a")
    world.report(("s", 5), after_s=6)
    after = world.digest
    for late in (5, 3, 0):
        assert world.report(("s", late))[0].reason is Reason.OK
        assert world.digest == after


def test_seconds_that_have_not_passed_are_refused(world: World) -> None:
    world.open_session("s", "v", "m-a")
    before = world.digest
    receipt = world.report(("s", 6), after_s=5.999)[0]
    assert (receipt.reason, receipt.seconds) == (Reason.SECOND_OUT_OF_RANGE, 0)
    assert world.digest == before


def test_the_budget_ends_to_the_second(world: World) -> None:
    world.open_session("s", "v", "m-a", 7)
    receipts = [world.report(("s", second), after_s=1)[0] for second in range(1, 8)]
    assert [receipt.stop for receipt in receipts] == [StopReason.RUNNING] * 6 + [StopReason.BUDGET_SPENT]
    world.report(("s", 9), after_s=2)
    assert status(world, "s") == (7, 7, StopReason.BUDGET_SPENT)


def test_the_longest_time_ends_to_the_second() -> None:
    world = World(silence_s=600)
    world.fund("v", 5_000)
    world.open_round("a", length_s=7_200, rates=replace(RATES, session_max_s=50))
    world.open_session("s", "v", "m-a", 3_600)
    world.report(("s", 60), after_s=60)
    assert status(world, "s") == (50, 50, StopReason.TIME_LIMIT)


def test_seconds_behind_the_lock_are_not_counted(world: World) -> None:
    world.wait(590)
    world.open_session("s", "v", "m-a")
    world.report(("s", 9), after_s=9.5)
    receipt = world.report(("s", 12), after_s=3)[0]
    assert (receipt.seconds, receipt.stop, receipt.reason) == (10, StopReason.ROUND_LOCKED, Reason.OK)


def test_late_seconds_count_until_the_round_is_locked_by_its_owner(world: World) -> None:
    world.wait(590)
    world.open_session("s", "v", "m-a")
    world.report(("s", 4), after_s=15)
    world.report(("s", 6), after_s=5)
    assert world.lock().tallies[0].takings == 6
    before = world.digest
    receipt = world.report(("s", 8), after_s=1)[0]
    assert (receipt.reason, receipt.seconds) == (Reason.GRACE_OVER, 6)
    assert world.digest == before


def test_a_closed_or_unknown_session_takes_no_seconds(world: World) -> None:
    world.watch("s", "v", "m-a", 4)
    world.do(c.CloseSession(uid("s"), "v"))
    before = world.digest
    receipts = world.report(("s", 6), ("nobody", 1), ("s", 4), after_s=2)
    assert [receipt.reason for receipt in receipts] == [
        Reason.SESSION_CLOSED, Reason.SESSION_NOT_FOUND, Reason.OK,
    ]  # fmt: skip
    assert world.digest == before
    assert world.do(c.CloseSession(uid("s"), "v")).stop is StopReason.CLOSED
    world.refused(c.CloseSession(uid("s"), "w"), Reason.SESSION_NOT_FOUND)
    world.refused(c.CloseSession(uid("nobody"), "v"), Reason.SESSION_NOT_FOUND)


def test_a_session_that_nobody_reports_is_closed(world: World) -> None:
    world.open_session("s", "v", "m-a")
    world.report(("s", 4), after_s=4)
    world.wait(9.9)
    assert status(world, "s")[2] is StopReason.RUNNING
    world.wait(0.1)
    assert status(world, "s") == (4, 4, StopReason.SILENCE)
    assert world.account("user:v").held == 0


def test_a_new_leader_counts_silence_afresh(world: World) -> None:
    world.open_session("s", "v", "m-a")
    world.now_ns += 25 * NS_PER_S
    world.machine.advance(world.now_ns, c.Reign(10))
    assert status(world, "s")[2] is StopReason.RUNNING
    world.report(("s", 25))
    assert status(world, "s") == (25, 25, StopReason.RUNNING)


def test_no_round_begins_before_1970() -> None:
    world = World()
    world.do(c.IssueTitle("m-a", "a"))
    world.refused(replace(world.round_command("a"), starts_ns=-1, locks_ns=9), Reason.ROUND_INVALID)


def test_a_shorter_silence_counts_from_the_new_leader_on_also_from_an_image() -> None:
    worlds = [World(silence_s=600), World(silence_s=600)]
    for world in worlds:
        world.fund("v", 5_000)
        world.open_round("a", length_s=500)
        world.open_session("s", "v", "m-a")
        world.report(("s", 1), after_s=1)
    worlds[1].machine = image.load(image.dump(worlds[1].machine))
    for world in worlds:
        world.now_ns += NS_PER_S
        world.machine.advance(world.now_ns, c.Reign(3))
    worlds[1].machine = image.load(image.dump(worlds[1].machine))
    for wait_s, stop in ((2.9, StopReason.RUNNING), (0.1, StopReason.SILENCE)):
        for world in worlds:
            world.wait(wait_s)
            assert world.session("s").stop is stop


def test_totals_are_the_sums_by_name(world: World) -> None:
    world.watch("s", "v", "m-a", 50)
    world.fund("debtor", 30)
    undone = [*world.machine.deposits.by_id][-1]
    world.transfer(Transfer(uid("fee"), "user:debtor", "platform:fee", 7))
    world.do(c.ReverseDeposit(uid("x"), undone, "orphaned"))
    by_name: dict[str, int] = {}
    for (name, asset), view in world.accounts().items():
        if asset == "sat":
            kind = name.partition(":")[0]
            by_name[kind] = by_name.get(kind, 0) + view.balance
    totals = totals_of(world.machine.books)
    assert (totals.sum, totals.coins_owed, totals.debts) == (0, -by_name["chain"], -by_name["debts"])
    assert (totals.users, totals.platform) == (by_name["user"], by_name["platform"])
    assert totals.rounds == by_name["takings"] + by_name.get("pool", 0)
    assert min(totals.users, totals.platform, totals.rounds, totals.debts) > 0


def test_many_that_fall_silent_end_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "SILENT_MAX", 2)
    worlds = [World(), World()]
    for world in worlds:
        for viewer in "vwxyz":
            world.fund(viewer, 100)
        world.open_round("a")
        for viewer in "vwxyz":
            world.open_session(viewer, viewer, "m-a", 100)
        world.report(("w", 1), after_s=1)
        world.wait(9)
    worlds[1].machine = image.load(image.dump(worlds[1].machine))
    for running in ("wyz", "w", "w"):
        for world in worlds:
            assert [session.command.viewer_id for session in world.machine.meter.running.values()] == [
                *running
            ]
            assert world.machine.next_due_ns() is not None
            world.wait(0.1)


def test_one_stream_per_viewer_and_meme(world: World) -> None:
    world.open_session("s", "v", "m-a")
    world.refused(c.OpenSession(uid("t"), "v", "m-a", 100), Reason.SESSION_OVERLAP)
    world.open_session("u", "v", "m-b", 100)
    world.do(c.CloseSession(uid("s"), "v"))
    world.open_session("t", "v", "m-a", 100)


def test_sessions_that_cannot_begin(world: World) -> None:
    world.refused(c.OpenSession(uid("s"), "v", "m-a", 5_001), Reason.INSUFFICIENT_FUNDS)
    world.refused(c.OpenSession(uid("s"), "nobody", "m-a", 1), Reason.INSUFFICIENT_FUNDS)
    world.refused(c.OpenSession(uid("s"), "v", "other", 10), Reason.NOT_AN_ENTRY)
    world.open_session("s", "v", "m-a", 100)
    after = world.digest
    world.open_session("s", "v", "m-a", 100)
    assert world.digest == after
    world.refused(c.OpenSession(uid("s"), "v", "m-a", 101), Reason.ID_REUSED)
    world.wait(600)
    world.refused(c.OpenSession(uid("t"), "w", "m-a", 10), Reason.ROUND_NOT_ACTIVE)
    world.lock()
    world.refused(c.OpenSession(uid("t"), "w", "m-a", 10), Reason.ROUND_NOT_ACTIVE)


def test_rounds_that_cannot_open(world: World) -> None:
    running = world.machine.rounds.get(uid("r")).command
    assert world.do(running) == view_round(world.machine.rounds.get(uid("r")))
    world.refused(replace(running, locks_ns=running.locks_ns + 1), Reason.ID_REUSED)
    world.refused(world.round_command("a", name="r2"), Reason.ROUND_OVERLAP)
    world.lock()
    world.refused(world.round_command("a", name="r2"), Reason.ROUND_OVERLAP)
    world.distribute([])
    good = world.round_command("a", "b", name="r2")
    for bad in (
        replace(good, locks_ns=good.starts_ns),
        replace(good, locks_ns=good.starts_ns + 100_000 * NS_PER_S),
        replace(good, starts_ns=good.starts_ns + 10**20, locks_ns=good.locks_ns + 10**20),
        replace(good, entries=()),
        replace(good, entries=good.entries[:1] * 2),
        replace(good, parameters=replace(RATES, platform_fee_bp=6_000)),
        replace(good, parameters=replace(RATES, winner_bp=10_001)),
        replace(good, parameters=replace(RATES, second_price_sats=0)),
        replace(good, parameters=replace(RATES, version=-1)),
    ):
        world.refused(bad, Reason.ROUND_INVALID)
    world.refused(replace(good, entries=(c.Entry("none", "a", 1),)), Reason.TITLE_NOT_FOUND)
    world.refused(replace(good, entries=(c.Entry("m-a", "b", 1),)), Reason.CREATOR_MISMATCH)
    world.do(good)


def test_a_round_pays_and_carries_on(world: World) -> None:
    world.watch("s", "v", "m-a", 90)
    world.watch("t", "w", "m-b", 80)
    world.refused(c.DistributePool(uid("r"), ("m-a", "m-b")), Reason.ROUND_NOT_ACTIVE)
    locked = world.lock()
    assert locked == world.lock()
    assert locked.pool == sum(tally.pool for tally in locked.tallies) == 94
    for wrong in ((), ("m-a",), ("m-a", "m-a"), ("m-a", "m-b", "m-c")):
        world.refused(c.DistributePool(uid("r"), wrong), Reason.RANKING_MISMATCH)
    paid = world.distribute(["m-a", "m-b"])
    assert (paid.payouts, paid.carried_out) == ((), 94), "nobody reaches 100 sat"
    assert paid == world.distribute(["m-a", "m-b"])
    world.refused(c.DistributePool(uid("r"), ("m-b", "m-a")), Reason.ID_REUSED)
    world.open_round("a", "b", name="r2")
    world.watch("u", "v", "m-a", 100)
    world.do(c.LockRound(uid("r2")))
    second = world.distribute(["m-a"], "r2")
    assert second.carried_in == 94
    assert [payout.amount_sats for payout in second.payouts] == [94 + second.tallies[0].pool]
    assert totals_of(world.machine.books).rounds == 0


def test_unknown_rounds(world: World) -> None:
    world.refused(c.LockRound(uid("none")), Reason.ROUND_NOT_FOUND)
    world.refused(c.DistributePool(uid("none"), ()), Reason.ROUND_NOT_FOUND)
    world.refused(c.VoidRound(uid("none"), "why"), Reason.ROUND_NOT_FOUND)


def test_the_score_leaves_out_own_seconds_and_those_beyond_the_limit() -> None:
    world = World(silence_s=3_600)
    for viewer in ("v", "a", "o"):
        world.fund(viewer, 5_000)
    world.open_round("a", "b", length_s=3_000)
    world.transfer(Transfer(uid("t"), "user:a", "user:o", 1, asset="title:m-a"))
    world.wait(0.001)
    for number, viewer in enumerate(("v", "v", "a", "o")):
        world.open_session(f"s{number}", viewer, "m-a", 400)
        world.report((f"s{number}", 400), after_s=400)
    tally = world.lock().tallies[0]
    assert (tally.paid_seconds, tally.scored_seconds, tally.viewers) == (1_600, 600, 1)
    assert tally.first_view_ns == world.machine.meter.get(uid("s0")).opened_ns


@pytest.mark.parametrize("sold_at_s", [0, 1, 2, 3, 7, 50, 99, 100, 119])
@pytest.mark.parametrize("offset_ns", [-1, 0, 1])
def test_a_share_goes_to_the_owner_of_the_second(sold_at_s: int, offset_ns: int) -> None:
    world = World(silence_s=600)
    world.fund("v", 5_000)
    world.open_round("a", "b")
    world.wait(1)
    opened_ns = world.now_ns
    world.open_session("s", "v", "m-a")
    world.wait(sold_at_s + offset_ns / NS_PER_S)
    world.transfer(Transfer(uid("t"), "user:a", "user:o", 1, asset="title:m-a"))
    since_ns = world.machine.titles.get("m-a").since_ns
    # Everything is reported long after the sale.
    world.now_ns = opened_ns + 130 * NS_PER_S
    world.report(("s", 120))
    tally = world.lock().tallies[0]
    old = sum(opened_ns + second * NS_PER_S < since_ns for second in range(120))
    fee, creator, owners, pool = model.split({"a": old, "o": 120 - old}, RATES)
    assert (tally.fee, tally.creator, tally.owner, tally.pool) == (fee, creator, sum(owners.values()), pool)
    assert world.balance("user:a") == owners["a"] + creator
    assert world.balance("user:o") == owners["o"]


def test_a_sale_settles_the_old_owner_first(world: World) -> None:
    world.watch("s", "v", "m-a", 50)
    world.transfer(Transfer(uid("t"), "user:a", "user:w", 1, asset="title:m-a"))
    settled = [posting for posting in world.machine.books.postings if posting.memo.startswith("share:")]
    assert [posting.amount for posting in settled] == [19]
    assert settled[0].memo.endswith("owner:a")


@pytest.mark.parametrize("locked", [False, True])
def test_a_void_gives_viewers_everything_back(world: World, locked: bool) -> None:
    world.watch("s", "v", "m-a", 120)
    world.watch("t", "w", "m-b", 77)
    if locked:
        world.lock()
    voided = world.do(c.VoidRound(uid("r"), "wrong films"))
    assert (voided.state, voided.refunded) == (RoundState.VOIDED, 197)
    assert [world.balance(name) for name in ("user:v", "user:w")] == [5_000, 5_000]
    assert [world.balance(name) for name in ("user:a", "user:b", "platform:fee")] == [0, 0, 0]
    assert totals_of(world.machine.books).rounds == 0
    assert world.do(c.VoidRound(uid("r"), "again")) == voided
    world.refused(c.LockRound(uid("r")), Reason.ROUND_VOIDED)
    world.refused(c.DistributePool(uid("r"), ()), Reason.ROUND_VOIDED)
    if not locked:
        assert status(world, "t")[2] is StopReason.ROUND_VOIDED
    world.open_round("a", "b", name="r2")


def test_a_void_makes_spent_shares_a_debt(world: World) -> None:
    world.watch("s", "v", "m-a", 200)
    spent = world.balance("user:a")
    world.transfer(Transfer(uid("t"), "user:a", "user:x", spent))
    world.do(c.VoidRound(uid("r"), "wrong films"))
    assert (world.balance("user:v"), world.account("user:a").debt, world.balance("user:x")) == (
        5_000,
        spent,
        spent,
    )
    world.fund("a", 1_000)
    assert (world.account("user:a").debt, world.balance("user:a")) == (0, 1_000 - spent)


def test_a_void_leaves_the_carried_pool(world: World) -> None:
    world.watch("s", "v", "m-a", 60)
    world.lock()
    carried = world.distribute(["m-a"]).carried_out
    world.open_round("a", "b", name="r2")
    voided = world.do(c.VoidRound(uid("r2"), "mistake"))
    assert (voided.carried_in, voided.carried_out, world.balance("pool:carried")) == (carried,) * 3


def test_a_paid_round_cannot_be_voided(world: World) -> None:
    world.lock()
    world.distribute([])
    world.refused(c.VoidRound(uid("r"), "too late"), Reason.ROUND_NOT_ACTIVE)
