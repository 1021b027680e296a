"""What the float writes on chain: titles that move with their satoshi, and results that are read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from mesh.clock import NS_PER_S, Clock, SystemClock
from mesh.errors import IdReused
from mesh.ids import uuid7
from services.chain.domain.aip import verify
from services.chain.domain.entities import TitleBody
from services.chain.domain.failures import DataTooLarge, InscriptionNotFound, RecordNotFound
from services.chain.domain.inscriptions import read_inscription
from services.chain.domain.keys import RECORD, KeyUse
from services.chain.domain.record_outputs import read_record_output
from services.chain.domain.states import TxState
from services.chain.domain.values import FLOAT_USER, MemeId, Network, Outpoint, Sats, UserId
from tests.chain.chainsim import SimNode
from tests.chain.world import ANNA, BERT, CARA, Rig, fund

pytestmark = pytest.mark.usefixtures("balanced")


def title(meme: MemeId, creator: UserId = ANNA) -> TitleBody:
    return TitleBody(meme, creator, "A cat", "image/png", b"\x89PNG" * 100, "ab" * 32)


async def test_the_float_pays_again_for_the_same_bytes(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    await rig.desk.results.record(uuid7(), '{"round":1}')
    sim.sends = ["refuse"]
    assert await rig.desk.write_next()
    await rig.balanced()
    rig.desk.results._pauses.clear()
    assert await rig.desk.write_next()
    await rig.balanced()
    [tx] = rig.desk.books.live()
    assert rig.balance(FLOAT_USER) == 50_000 - tx.cost_sats


async def test_a_title_is_inscribed_held_for_its_owner_and_paid_by_the_float(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    meme = MemeId(uuid7())
    asked = await rig.desk.titles.inscribe(title(meme))
    assert (asked.title.outpoint, asked.tx_state) == ("", None)
    assert await rig.desk.write_next()
    assert not await rig.desk.write_next()
    sim.mine()
    await rig.sync()
    shown = await rig.desk.titles.get(meme)
    [tx] = [one for one in sim.on_chain() if one.txid in sim.sent]
    found = read_inscription(tx.outputs[0].script)
    assert (found.data, found.mime, tx.outputs[0].sats) == (title(meme).poster, "image/png", 1)
    assert found.map == {
        "app": "satreel",
        "type": "ord",
        "name": "A cat",
        "subType": "title",
        "memeId": meme,
        "creator": ANNA,
        "film": "ab" * 32,
    }
    key = rig.world.keys.key(await rig.desk.accounts.path(ANNA, KeyUse.TITLE))
    assert (found.key_hash, shown.title.owner_id) == (key.key_hash, ANNA)
    assert (shown.title.origin, shown.confirmations) == (f"{tx.txid}_0", 1)
    fee = rig.desk.books.tx_of(tx.txid).value.fee_sats  # type: ignore[union-attr]
    assert rig.balance(FLOAT_USER) == 50_000 - 1 - fee


class SetBackClock(SystemClock):
    """Somebody sets it back by a second each time it is looked at."""

    def __init__(self) -> None:
        self._looks = count()

    def now_ns(self) -> int:
        return super().now_ns() - next(self._looks) * NS_PER_S


@pytest.mark.parametrize("clock", [SystemClock, SetBackClock])
async def test_a_title_moves_with_its_satoshi_from_owner_to_owner(
    rig: Rig, sim: SimNode, clock: Callable[[], Clock]
) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    rig.world = replace(rig.world, clock=clock())
    await rig.restart()
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(title(meme))
    sales = [(uuid7(), BERT), (uuid7(), CARA), (uuid7(), ANNA)]
    for sale, owner in sales:
        await rig.desk.titles.transfer(sale, meme, owner)
    await rig.restart()
    while await rig.desk.write_next():
        await rig.balanced()
    sim.mine()
    await rig.sync()
    shown = await rig.desk.titles.get(meme)
    assert shown.title.owner_id == ANNA
    point = Outpoint.parse(shown.title.origin)
    for _, owner in sales:
        [tx] = [one for one in sim.on_chain() if one.spends and one.spends[0] == point]
        script = rig.world.keys.key(await rig.desk.accounts.path(owner, KeyUse.TITLE)).script
        assert (tx.outputs[0].sats, tx.outputs[0].script) == (1, script)
        point = Outpoint(tx.txid, 0)
    assert shown.title.outpoint == str(point)
    again = await rig.desk.titles.transfer(*sales[0][:1], meme, BERT)
    assert again.title == shown.title
    assert not await rig.desk.write_next()


async def test_titles_are_refused_with_nothing_changed(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    meme, sale = MemeId(uuid7()), uuid7()
    with pytest.raises(InscriptionNotFound):
        await rig.desk.titles.get(meme)
    with pytest.raises(InscriptionNotFound):
        await rig.desk.titles.transfer(sale, meme, BERT)
    with pytest.raises(DataTooLarge):
        await rig.desk.titles.inscribe(TitleBody(meme, ANNA, "A", "image/png", b"x" * 500_001, "ab" * 32))
    assert rig.desk.titles.queued == 0
    await rig.desk.titles.inscribe(title(meme))
    with pytest.raises(IdReused):
        await rig.desk.titles.inscribe(title(meme, BERT))
    await rig.desk.titles.inscribe(title(meme))
    await rig.desk.titles.transfer(sale, meme, BERT)
    with pytest.raises(IdReused):
        await rig.desk.titles.transfer(sale, meme, CARA)
    assert rig.desk.titles.queued == 2
    while await rig.desk.write_next():
        pass
    assert (await rig.desk.titles.get(meme)).title.owner_id == BERT
    assert len(sim.sent) == 2


async def test_an_empty_float_is_waited_for_and_never_negative(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 50_000)
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(title(meme))
    assert not await rig.desk.write_next()
    assert (sim.sent, rig.balance(FLOAT_USER)) == ([], 0)
    await fund(rig, sim, FLOAT_USER, 500)
    assert await rig.desk.write_next()
    assert 0 <= rig.balance(FLOAT_USER) < 500


async def test_a_title_moves_while_the_float_is_too_low_to_inscribe_another(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, ANNA, 50_000)
    await fund(rig, sim, FLOAT_USER, 250)
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(title(meme))
    assert await rig.desk.write_next()
    await rig.desk.titles.inscribe(replace(title(MemeId(uuid7())), poster=b"\x89PNG" * 1_000))
    await rig.desk.titles.transfer(uuid7(), meme, BERT)
    assert await rig.desk.write_next()
    assert (await rig.desk.titles.get(meme)).title.owner_id == BERT
    assert not await rig.desk.write_next()


async def test_a_float_that_was_spent_meanwhile_is_waited_for(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 500)
    await rig.desk.titles.inscribe(title(MemeId(uuid7())))
    rig.ledger.balances[FLOAT_USER] -= 499
    rig.ledger.balances["user:other"] = 499
    available = rig.ledger.available_sats

    async def stale(account: str) -> Sats:
        return Sats(500)

    rig.ledger.available_sats = stale  # type: ignore[method-assign]
    assert await rig.desk.write_next()
    rig.ledger.available_sats = available  # type: ignore[method-assign]
    assert sim.sent == []
    await rig.balanced()
    rig.ledger.balances[FLOAT_USER] += 499
    rig.ledger.balances["user:other"] = 0
    await rig.desk.tend()
    assert len(sim.sent) == 1
    await rig.balanced()


async def test_a_result_is_read_back_and_its_signature_holds(rig: Rig, sim: SimNode) -> None:
    await fund(rig, sim, FLOAT_USER, 50_000)
    payload = json.dumps({"payouts": [1, 2], "round": "r"}, sort_keys=True, separators=(",", ":"))
    round_id = uuid7()
    with pytest.raises(RecordNotFound):
        await rig.desk.results.get(round_id)
    await rig.desk.results.record(round_id, payload)
    await rig.desk.results.record(round_id, payload)
    with pytest.raises(IdReused):
        await rig.desk.results.record(round_id, payload + " ")
    with pytest.raises(DataTooLarge):
        await rig.desk.results.record(uuid7(), '"' + "é" * 45_001 + '"')
    assert await rig.desk.write_next()
    assert not await rig.desk.write_next()
    sim.mine()
    await rig.sync()
    [tx] = [one for one in sim.on_chain() if one.txid in sim.sent]
    found = read_record_output(tx.outputs[0].script)
    shown = await rig.desk.results.get(round_id)
    digest = hashlib.sha256(payload.encode()).hexdigest()
    assert found.payload.decode() == payload
    assert found.round_id == round_id
    assert (shown.result.txid, shown.result.sha256, shown.tx_state) == (tx.txid, digest, TxState.MINED)
    assert found.authored.address == rig.world.keys.address(RECORD)
    verify(found.authored, Network.REGTEST)
    assert [one.tx_state for one in rig.news.results] == ["signed", "mined"]
