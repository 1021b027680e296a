"""The hot wallet between floor and ceiling; sweeps, refills, and small coins joined in quiet times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from mesh.ids import uuid7
from services.chain.app import custody_watch
from services.chain.app.parts import Rules
from services.chain.app.sweeping import HotRule, Level
from services.chain.domain.addresses import address_of
from services.chain.domain.entities import Tx
from services.chain.domain.failures import AddressInvalid
from services.chain.domain.keys import REFILL
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import CoinState, TxState
from services.chain.domain.values import COINS_ACCOUNT, COLD_ACCOUNT, FLOAT_USER, Network, Purpose, Sats
from tests.chain.chainsim import SimNode
from tests.chain.faults import MortalStore
from tests.chain.world import ADDRESS, ANNA, BERT, RULES, Rig, fund, open_rig, opened_store

COLD = bytes(range(1, 21))
HOT = HotRule(Network.REGTEST, 100_000, 300_000, address_of(COLD, Network.REGTEST))
MAIN_ADDRESS = address_of(COLD, Network.MAIN)


@pytest.fixture
def rules() -> Rules:
    return replace(RULES, hot=HOT)


def sweeps(rig: Rig) -> list[Tx]:
    return [tx for tx in rig.desk.books.live() if tx.purpose is Purpose.SWEEP]


async def swept(rig: Rig, sim: SimNode) -> Tx:
    """500,000 came in; what is above the middle is on its way."""
    await fund(rig, sim, FLOAT_USER, 100_000)
    await fund(rig, sim, ANNA, 400_000)
    assert rig.desk.sweeping.look() is Level.ABOVE_CEILING
    await rig.desk.keep_house()
    [tx] = sweeps(rig)
    return tx


async def test_what_is_above_the_ceiling_goes_to_the_cold_address_to_the_satoshi(
    rig: Rig, sim: SimNode
) -> None:
    tx = await swept(rig, sim)
    found = await rig.custody()
    assert (found.in_flight_sats, found.cold_sats, found.difference_sats) == (300_000, 0, 0)
    assert rig.balance(FLOAT_USER) == 100_000 - tx.fee_sats
    await rig.desk.keep_house()
    assert len(sweeps(rig)) == 1  # one at a time
    sim.mine()
    await rig.sync()
    await rig.desk.keep_house()
    found = await rig.custody()
    assert (found.cold_sats, found.difference_sats, sim.paid(p2pkh(COLD))) == (300_000, 0, [300_000])
    assert found.coins_sats == found.owed_sats == 200_000 - tx.fee_sats
    assert rig.desk.sweeping.look() is Level.WITHIN
    assert rig.balance(ANNA) == 400_000  # what is owed to users stays what it is
    assert len(sweeps(rig)) == 1


async def test_nothing_is_swept_while_withdrawals_wait_or_without_an_address(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 100_000)
    await fund(rig, sim, ANNA, 400_000)
    await rig.desk.requests.withdraw(uuid7(), ANNA, ADDRESS, Sats(1_000))
    await rig.desk.keep_house()
    assert sweeps(rig) == []
    await rig.desk.pay()
    rig.desk.sweeping.rule = replace(HOT, cold_address="")
    await rig.desk.keep_house()
    assert (sweeps(rig), rig.desk.sweeping.look()) == ([], Level.ABOVE_CEILING)


async def test_what_comes_back_is_nobodys_credit_and_undone_with_its_block(rig: Rig, sim: SimNode) -> None:
    await swept(rig, sim)
    sim.mine()
    await rig.sync()
    before = await rig.custody()
    sim.fund(rig.world.keys.key(REFILL).script, 50_000)
    await rig.mempool()
    await rig.balanced()
    sim.mine()
    await rig.sync()
    after = await rig.custody()
    assert (after.cold_sats, after.difference_sats) == (250_000, 0)
    assert after.owed_sats == before.owed_sats + 50_000
    assert rig.ledger.credits.keys() == {one.id for one in rig.ledger.standing.values()}
    sim.rewind(1)
    sim.mine(2, only=[])
    await rig.sync()
    again = await rig.custody()
    assert (again.cold_sats, again.owed_sats, again.difference_sats) == (300_000, before.owed_sats, 0)
    sim.mine()
    await rig.sync()
    assert (await rig.custody()).cold_sats == 250_000
    await rig.balanced()


async def test_a_sweep_survives_a_reorganisation_and_is_told_to_the_ledger_once(
    rig: Rig, sim: SimNode
) -> None:
    await swept(rig, sim)
    sim.mine()
    await rig.sync()
    sim.rewind(1)
    sim.mine(2, only=[])
    await rig.sync()
    await rig.balanced()
    sim.mine()
    await rig.sync()
    assert ((await rig.custody()).cold_sats, sim.paid(p2pkh(COLD))) == (300_000, [300_000])
    await rig.balanced()


@pytest.mark.parametrize("mined_before", [False, True])
async def test_a_sweep_that_can_never_be_mined_is_taken_back(
    rig: Rig, sim: SimNode, mined_before: bool
) -> None:
    tx = await swept(rig, sim)
    if mined_before:
        sim.mine()
        await rig.sync()
        sim.rewind(1)
        sim.evict(tx.txid)
        sim.sends = ["lose"]
        sim.mine(2)
        await rig.sync()
    await rig.desk.rejecting.reject(tx, "for the test")
    assert ((await rig.custody()).cold_sats, rig.ledger.balances.get(COLD_ACCOUNT)) == (0, 0)
    assert rig.balance(FLOAT_USER) == 100_000
    await rig.balanced()


async def test_killed_at_every_write_of_a_sweep(tmp_path: Path) -> None:
    async def day(at: int | None) -> int:
        sim = SimNode()
        async with opened_store(tmp_path / f"{at}.sqlite") as store:
            rig = await open_rig(store, sim, rules=replace(RULES, hot=HOT))
            await fund(rig, sim, FLOAT_USER, 100_000)
            await fund(rig, sim, ANNA, 400_000)
            mortal = MortalStore(store, at=at, behind=bool(at and at % 2))
            await rig.live_on(mortal)
            try:
                await rig.desk.keep_house()
                sim.mine()
                await rig.sync()
            except BaseException as problem:
                if not mortal.dead:
                    raise AssertionError(f"killed at {at}") from problem
            await mortal.at_rest()
            await rig.live_on(store)
            for _ in range(2):
                await rig.sync()
                await rig.desk.keep_house()
                await rig.balanced()
                sim.mine()
                await rig.sync()
            assert ((await rig.custody()).cold_sats, sim.paid(p2pkh(COLD))) == (300_000, [300_000])
            await rig.balanced()
            return mortal.writes

    writes = await day(None)
    assert writes > 8
    for at in range(writes):
        await day(at)


def test_levels() -> None:
    assert [HOT.level(sats) for sats in (99_999, 100_000, 300_000, 300_001)] == [
        Level.BELOW_FLOOR,
        Level.WITHIN,
        Level.WITHIN,
        Level.ABOVE_CEILING,
    ]
    assert [HOT.excess(sats) for sats in (0, 300_000, 300_001)] == [0, 0, 100_001]
    nothing = HotRule(Network.REGTEST)
    assert (nothing.level(0), nothing.level(10**15), nothing.excess(10**15)) == (
        Level.WITHIN,
        Level.WITHIN,
        0,
    )


def test_a_cold_address_of_another_network_or_a_ceiling_below_the_floor_is_refused() -> None:
    with pytest.raises(AddressInvalid, match="not a pay-to-public-key-hash address of the regtest network"):
        HotRule(Network.REGTEST, 1, 2, MAIN_ADDRESS)
    with pytest.raises(ValueError, match="above its floor"):
        HotRule(Network.REGTEST, 5, 5)


async def test_many_small_coins_are_joined_in_quiet_times_one_after_the_other(rig: Rig, sim: SimNode) -> None:
    rig.desk.joining._policy = replace(rig.rules.policy, coins_max=10)
    await fund(rig, sim, FLOAT_USER, 90_000)
    for _ in range(24):
        await fund(rig, sim, BERT, 400, mine=False)
    sim.mine()
    await rig.sync()
    await rig.desk.requests.withdraw(uuid7(), BERT, ADDRESS, Sats(1_000))
    await rig.desk.keep_house()
    assert [tx.purpose for tx in rig.desk.books.live()] == []  # payments come first
    await rig.desk.pay()
    await rig.desk.keep_house()
    await rig.desk.keep_house()
    joined = [tx for tx in rig.desk.books.live() if tx.purpose is Purpose.WALLET]
    assert len(joined) == 1
    free = [kept for kept in rig.desk.books.coins.values() if kept.value.state is CoinState.FREE]
    assert len(free) == 10
    await rig.balanced()
    sim.mine()
    await rig.sync()
    await rig.desk.keep_house()
    assert {tx.state for tx in rig.desk.books.live()} == {TxState.MINED}
    await rig.balanced()


async def test_a_coin_that_nobody_is_credited_for_shows_by_itself_and_once(
    rig: Rig, sim: SimNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    monkeypatch.setattr(custody_watch, "_difference", SimpleNamespace(set=shown.append))
    await fund(rig, sim, ANNA, 10_000)
    watch = rig.desk.custody_watch
    with structlog.testing.capture_logs() as said:
        await watch.look()
        rig.ledger.balances[COINS_ACCOUNT] += 3
        for _ in range(2):
            await watch.look()
        rig.desk.books._unsettled.add("something")
        await watch.look()
        rig.desk.books._unsettled.clear()
        rig.ledger.balances[COINS_ACCOUNT] -= 3
        await watch.look()
    assert shown == [0, 3, 3, 0]
    assert [(line["event"], line.get("difference_sats")) for line in said] == [
        ("coins and ledger differ", 3),
        ("coins and ledger agree again", None),
    ]
