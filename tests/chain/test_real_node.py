"""Over a real BSV node: money in, money out, titles and records; reorganisations and double spends."""

from __future__ import annotations

import json

from mesh.ids import uuid7
from sandbox.regtest import Regtest
from services.chain.domain.entities import TitleBody
from services.chain.domain.states import DepositState, WithdrawalState
from services.chain.domain.values import FLOAT_USER, MemeId, Sats
from tests.chain.world import ANNA, BERT, Rig


async def deposited(rig: Rig, regtest: Regtest, user: object, sats: int) -> str:
    address = rig.float_address if user == FLOAT_USER else await rig.address(user)  # type: ignore[arg-type]
    coin = await regtest.fund(address, sats)
    await regtest.mine()
    await rig.sync()
    return coin.txid


async def test_a_deposit_is_seen_at_once_and_credited_after_a_block(rig: Rig, regtest: Regtest) -> None:
    address = await rig.address(ANNA)
    coin = await regtest.fund(address, 50_000)
    await rig.mempool()
    [seen] = await rig.desk.deposits.listed(ANNA, "", 10)
    assert (seen.state, seen.sats, seen.outpoint.txid, seen.address) == (
        DepositState.SEEN,
        50_000,
        coin.txid,
        address,
    )
    assert rig.balance(ANNA) == 0
    await rig.balanced()

    await regtest.mine()
    await rig.sync()
    [credited] = await rig.desk.deposits.listed(ANNA, "", 10)
    assert credited.state is DepositState.CREDITED
    assert rig.balance(ANNA) == 50_000
    await rig.balanced()


async def test_a_withdrawal_arrives_exactly_and_the_fee_is_split_exactly(rig: Rig, regtest: Regtest) -> None:
    await deposited(rig, regtest, ANNA, 100_000)
    await deposited(rig, regtest, BERT, 100_000)
    to = await regtest.rpc.text("getnewaddress")
    one = await rig.desk.withdrawals.request(uuid7(), ANNA, to, Sats(10_000))
    two = await rig.desk.withdrawals.request(uuid7(), BERT, to, Sats(20_000))
    assert rig.available(ANNA) == 100_000 - 10_100
    await rig.desk.pay()
    await rig.balanced()
    sent, tx = await rig.desk.withdrawals.get(one.id)
    assert sent.state is WithdrawalState.SENT
    assert tx is not None
    raw = await regtest.rpc.record("getrawtransaction", tx.txid, True)
    assert [str(out["value"]) for out in raw["vout"]][:2] == ["0.0001", "0.0002"]  # type: ignore[index]

    await regtest.mine()
    await rig.sync()
    first, tx = await rig.desk.withdrawals.get(one.id)
    second, _ = await rig.desk.withdrawals.get(two.id)
    assert tx is not None
    assert {first.state, second.state} == {WithdrawalState.CONFIRMED}
    assert first.share_sats + second.share_sats == tx.fee_sats
    assert rig.balance(ANNA) == 90_000 - first.share_sats
    assert rig.balance(BERT) == 80_000 - second.share_sats
    assert rig.ledger.holds == {}
    await rig.balanced()


async def test_a_title_is_inscribed_and_moved(rig: Rig, regtest: Regtest) -> None:
    await deposited(rig, regtest, FLOAT_USER, 100_000)
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(TitleBody(meme, ANNA, "A cat", "image/png", b"\x89PNG" * 500, "ab" * 32))
    assert await rig.desk.write_next()
    shown = await rig.desk.titles.get(meme)
    assert shown.title.origin == shown.title.outpoint
    await rig.balanced()
    await rig.desk.titles.transfer(uuid7(), meme, BERT)
    assert await rig.desk.write_next()
    await rig.balanced()
    await regtest.mine()
    await rig.sync()
    moved = await rig.desk.titles.get(meme)
    assert moved.title.owner_id == BERT
    assert moved.title.origin == shown.title.origin != moved.title.outpoint
    assert (moved.tx_state, moved.confirmations) == ("mined", 1)
    await rig.balanced()


async def test_a_result_is_recorded(rig: Rig, regtest: Regtest) -> None:
    await deposited(rig, regtest, FLOAT_USER, 100_000)
    payload = json.dumps({"round": "x"}, separators=(",", ":"))
    round_id = uuid7()
    await rig.desk.results.record(round_id, payload)
    assert await rig.desk.write_next()
    await regtest.mine()
    await rig.sync()
    shown = await rig.desk.results.get(round_id)
    assert shown.tx_state == "mined"
    await rig.balanced()


async def test_a_reorganisation_takes_a_deposit_back_and_credits_it_again(rig: Rig, regtest: Regtest) -> None:
    await deposited(rig, regtest, ANNA, 50_000)
    orphan = await regtest.tip()
    await regtest.invalidate(orphan)
    await rig.sync()
    assert rig.balance(ANNA) == 50_000  # the chain has not moved elsewhere yet
    await regtest.mine()
    await rig.sync()
    assert rig.balance(ANNA) == 50_000
    [found] = await rig.desk.deposits.listed(ANNA, "", 10)
    assert found.state is DepositState.CREDITED
    assert found.reversals == 1
    assert found.block_hash == await regtest.tip()
    assert len(rig.ledger.reversals) == 1
    await rig.balanced()
