"""WhatsOnChain and ARC on a bad day, adapter by adapter: what is repeated, what is unknown, what is a lie."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from mesh.clock import ManualClock
from sandbox.explorers.faults import Fault
from sandbox.regtest import Regtest
from services.chain.adapters.http import OutOfReach, Throttled
from services.chain.adapters.whatsonchain.news import WhatsOnChainNews
from services.chain.adapters.whatsonchain.reader import WhatsOnChain
from services.chain.app.ports import Broadcast, Broadcaster
from services.chain.app.sources import Broadcasters, Readers
from services.chain.app.trust import Trust
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.keys import FLOAT
from services.chain.domain.values import BlockHash, Network, Txid
from services.chain.domain.wire import txid_of
from tests.chain.outside import Outside
from tests.chain.test_contract_broadcaster import Payer, payer
from tests.chain.test_contract_reader import Purse, block_of

__all__ = ["payer"]

PATIENCE_S = 60
REGTEST = CONSENSUS[Network.REGTEST]


class Heard(Trust):
    """Trust that a test may look into."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.told: list[tuple[str, bool]] = []
        super().__init__(self.clock, lambda name, usable: self.told.append((name, usable)))


# reading


@pytest.mark.parametrize("kind", [Fault.HTTP_429, Fault.HTTP_500, Fault.HTML, Fault.RESET])
async def test_a_read_survives_one_bad_answer(outside: Outside, regtest: Regtest, kind: Fault) -> None:
    reader = outside.reader()
    outside.faults.add(kind, at="*/chain/info")
    assert await reader.best() == await regtest.tip()


@pytest.mark.parametrize("kind", [Fault.HTTP_429, Fault.HTTP_500, Fault.HTML, Fault.RESET, Fault.SILENCE])
async def test_a_read_that_gets_no_answer_says_so(outside: Outside, kind: Fault) -> None:
    reader = outside.reader(timeout_s=0.3)
    outside.faults.add(kind, at="*/chain/info", times=None, seconds=30)
    with pytest.raises(NodeUnavailable):
        await reader.best()


async def test_without_a_key_the_limit_is_kept_on_our_side(outside: Outside) -> None:
    reader = WhatsOnChain(outside.woc(key="", per_s=3), Network.REGTEST, ManualClock())
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(reader.best())
    assert 2.0 < time.monotonic() - began < 20.0


async def test_a_wrong_key_is_an_outage_and_not_shown(outside: Outside) -> None:
    with pytest.raises(OutOfReach) as problem:
        await outside.reader(key="somebody-elses").best()
    assert "somebody" not in str(problem.value)


@pytest.mark.parametrize("kind", [Fault.BAD_WORK, Fault.BAD_LINK])
async def test_a_header_that_lies_is_found_out_and_its_teller_left_out(
    outside: Outside, regtest: Regtest, kind: Fault
) -> None:
    trust = Heard()
    tip = BlockHash((await regtest.mine())[0])
    alone = Readers({"whatsonchain": outside.reader()}, trust, REGTEST)
    outside.faults.add(kind, times=None)
    with pytest.raises(SourceLies):
        await alone.header(tip)
    assert trust.told == [("whatsonchain", False)]
    both = Readers({"whatsonchain": outside.reader(), "node": outside.node}, trust, REGTEST)
    found = await both.header(tip)
    assert found is not None
    assert found.header.hash == tip


async def test_a_proof_that_lies_credits_nothing_and_another_is_asked(
    outside: Outside, regtest: Regtest
) -> None:
    purse, trust = Purse(), Heard()
    coin = await regtest.fund(purse.keys.address(FLOAT), 5_000)
    [mined] = await regtest.mine()
    block = await block_of(outside.node, mined)
    woc = outside.reader()
    outside.faults.add(Fault.BAD_PROOF, times=None)
    with pytest.raises(SourceLies):
        await woc.findings(block, purse.interest())
    both = Readers({"whatsonchain": woc, "node": outside.node}, trust, REGTEST)
    found = await both.findings(block, purse.interest())
    assert [one.outpoint.txid for one in found.payments] == [coin.txid]
    assert not trust.has("whatsonchain")


async def test_a_proof_that_lies_makes_nothing_of_ours_mined(outside: Outside, regtest: Regtest) -> None:
    purse = Purse()
    coin = await regtest.fund(purse.keys.address(FLOAT), 50_000)
    await regtest.mine()
    raw = purse.spend(coin, FLOAT)
    await regtest.rpc.text("sendrawtransaction", raw.hex())
    [mined] = await regtest.mine()
    block = await block_of(outside.node, mined)
    interest = replace(purse.interest((txid_of(raw),)), scripts=())
    outside.faults.add(Fault.BAD_PROOF)
    with pytest.raises(SourceLies):
        await outside.reader().findings(block, interest)
    assert (await outside.reader().findings(block, interest)).ours == [txid_of(raw)]


async def test_one_of_another_network_is_not_believed(outside: Outside) -> None:
    with pytest.raises(SourceLies, match="network"):
        await WhatsOnChain(outside.woc(), Network.MAIN, ManualClock()).best()


async def test_what_the_index_knows_late_is_told_late_and_once(outside: Outside, regtest: Regtest) -> None:
    purse, clock = Purse(), ManualClock()
    reader = WhatsOnChain(outside.woc(), Network.REGTEST, clock)
    coin = await regtest.fund(purse.keys.address(FLOAT), 5_000)
    [mined] = await regtest.mine()
    block = await block_of(reader, mined)
    outside.faults.add(Fault.BEHIND, at="*/addresses/confirmed/history")
    assert (await reader.findings(block, purse.interest())).payments == []
    assert await reader.overlooked([block], purse.interest(), afresh=False) == {}  # not asked again at once
    await clock.advance(60)
    late = await reader.overlooked([block], purse.interest(), afresh=False)
    assert [one.outpoint.txid for one in late[block.hash].payments] == [coin.txid]
    await clock.advance(60)
    assert await reader.overlooked([block], purse.interest(), afresh=False) == {}


async def test_a_block_that_it_does_not_have_yet_is_not_read_as_empty(
    outside: Outside, regtest: Regtest
) -> None:
    purse = Purse()
    await regtest.fund(purse.keys.address(FLOAT), 5_000)
    [mined] = await regtest.mine()
    block = await block_of(outside.node, mined)
    outside.faults.add(Fault.BEHIND, times=None)
    with pytest.raises(NodeUnavailable, match="does not have"):
        await outside.reader().findings(block, purse.interest())


async def test_blocks_are_heard_of_over_the_socket_and_found_without_it(
    outside: Outside, regtest: Regtest
) -> None:
    patient = WhatsOnChainNews(outside.session, outside.explorers.woc_socket_url, 60.0).blocks()
    for _ in range(2):  # at once, and when the line stands
        await asyncio.wait_for(anext(patient), PATIENCE_S)
    await regtest.mine()
    await asyncio.wait_for(anext(patient), PATIENCE_S)
    await patient.aclose()  # type: ignore[attr-defined]
    polling = WhatsOnChainNews(outside.session, "ws://127.0.0.1:9/", 0.05).blocks()
    for _ in range(3):
        await asyncio.wait_for(anext(polling), PATIENCE_S)
    await polling.aclose()  # type: ignore[attr-defined]


# sending


@pytest.mark.parametrize("kind", [Fault.HTTP_429, Fault.HTML, Fault.SILENCE])
async def test_sending_without_an_answer_is_unknown_and_done_once(
    outside: Outside, regtest: Regtest, payer: Payer, kind: Fault
) -> None:
    raw = payer.pay(1_000)
    outside.faults.add(kind, times=None, seconds=30)
    arc = outside.arc(timeout_s=0.5)
    assert (await arc.send(raw, payer.spent)).outcome is Broadcast.UNKNOWN
    assert (await arc.ask(txid_of(raw))).outcome is Broadcast.UNKNOWN
    assert txid_of(raw) not in await regtest.rpc.texts("getrawmempool")


async def test_an_answer_that_is_lost_is_asked_for(outside: Outside, payer: Payer) -> None:
    raw = payer.pay(1_000)
    arc = outside.arc()
    outside.faults.add(Fault.ANSWER_LOST, at="POST */v1/tx")
    assert (await arc.send(raw, payer.spent)).outcome is Broadcast.UNKNOWN
    assert (await arc.ask(txid_of(raw))).outcome is Broadcast.ACCEPTED
    assert await outside.reader().waiting([txid_of(raw)]) == {txid_of(raw)}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, Broadcast.UNKNOWN),
        (404, Broadcast.UNKNOWN),
        (409, Broadcast.UNKNOWN),
        (422, Broadcast.UNKNOWN),
        (460, Broadcast.UNKNOWN),
        (461, Broadcast.REJECTED),
        (462, Broadcast.UNKNOWN),
        (463, Broadcast.REJECTED),
        (464, Broadcast.REFUSED),
        (465, Broadcast.REFUSED),
        (466, Broadcast.CONTESTED),
        (467, Broadcast.UNKNOWN),
        (468, Broadcast.UNKNOWN),
        (469, Broadcast.UNKNOWN),
        (471, Broadcast.UNKNOWN),
        (473, Broadcast.REFUSED),
        (503, Broadcast.UNKNOWN),
        (599, Broadcast.UNKNOWN),
    ],
)
async def test_what_arc_s_problems_stand_for(
    outside: Outside, payer: Payer, status: int, outcome: Broadcast
) -> None:
    outside.faults.add(Fault.PROBLEM, status=status)
    sent = await outside.arc().send(payer.pay(1_000), payer.spent)
    assert sent.outcome is outcome, sent


async def test_contested_is_not_final_and_may_be_mined(
    outside: Outside, regtest: Regtest, payer: Payer
) -> None:
    raw = payer.pay(1_000)
    arc = outside.arc()
    outside.faults.add(Fault.DOUBLE_SPEND)
    assert (await arc.send(raw, payer.spent)).outcome is Broadcast.CONTESTED
    assert (await arc.ask(txid_of(raw))).outcome is Broadcast.CONTESTED
    await regtest.mine()
    async with asyncio.timeout(PATIENCE_S):
        while (await arc.ask(txid_of(raw))).outcome is not Broadcast.ACCEPTED:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("swallower", ["arc", "whatsonchain"])
async def test_what_is_swallowed_reaches_the_miners_through_the_other(
    outside: Outside, regtest: Regtest, payer: Payer, swallower: str
) -> None:
    raw = payer.pay(1_000)
    arc, woc = outside.arc(), outside.woc_sender()
    pair: list[tuple[str, Broadcaster]] = [("arc", arc), ("whatsonchain", woc)]
    both = Broadcasters(dict(pair if swallower == "arc" else reversed(pair)), Heard(), ManualClock())
    outside.faults.add(Fault.SWALLOW, times=None, at="*/v1/tx" if swallower == "arc" else "*/tx/raw")
    assert (await both.send(raw, payer.spent)).outcome is Broadcast.ACCEPTED
    assert txid_of(raw) not in await regtest.rpc.texts("getrawmempool")
    assert await outside.reader().waiting([txid_of(raw)]) == set()
    assert (await both.send(raw, payer.spent)).outcome is Broadcast.ACCEPTED
    assert txid_of(raw) in await regtest.rpc.texts("getrawmempool")


async def test_the_policy_is_the_fee(outside: Outside) -> None:
    assert await outside.arc().sats_per_kb() == 100


async def test_more_than_asked_for_too_often_is_said_to_be_so(outside: Outside) -> None:
    outside.faults.add(Fault.HTTP_429, times=None)
    source = outside.woc()
    with pytest.raises(Throttled):
        await source.send("/tx/raw", {"txhex": "00"})
    with pytest.raises(OutOfReach, match="left alone"):
        await source.send("/tx/raw", {"txhex": "00"})


async def test_a_stranger_s_words_are_no_id(outside: Outside) -> None:
    assert (await outside.woc_sender().send(b"\x00" * 20, [])).outcome is Broadcast.REJECTED
    assert (await outside.woc_sender().ask(Txid("no id"))).outcome is Broadcast.UNKNOWN
