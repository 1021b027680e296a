"""Over a real BSV node: money in, money out, titles and records; reorganisations and double spends."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from bsv.keys import PrivateKey

from mesh.ids import uuid7
from sandbox.regtest import Regtest
from sandbox.rpc import sats_of
from sandbox.wallet import Wallet
from services.chain.adapters.node import RpcNode
from services.chain.app.bumping import BumpRule
from services.chain.app.fees import FeeRate
from services.chain.app.origins import OriginUnproved, prove_title
from services.chain.app.ports import Sent
from services.chain.app.records import Records
from services.chain.app.sweeping import HotRule
from services.chain.app.title_audit import Kind
from services.chain.app.withdrawal_requests import Payout
from services.chain.domain import spending
from services.chain.domain.aip import verify
from services.chain.domain.entities import TitleBody
from services.chain.domain.keys import RECORD, REFILL, KeyUse, SigningKey
from services.chain.domain.record_outputs import read_record_output
from services.chain.domain.states import DepositState, TxState, WithdrawalState
from services.chain.domain.values import FLOAT_USER, MemeId, Network, Outpoint, Sats, Txid
from services.chain.domain.wire import (
    Output,
    Spent,
    assemble,
    digests,
    parse_transaction,
    sha256d,
    txid_of,
    unlocking,
)
from tests.chain.faults import Killed, MortalStore
from tests.chain.world import ANNA, BERT, Rig, open_rig, opened_store


@pytest_asyncio.fixture
async def rig(node: RpcNode, tmp_path: Path) -> AsyncIterator[Rig]:
    """Its keys are its own, because the chain is shared."""
    async with opened_store(tmp_path / "chain.sqlite") as store:
        yield await open_rig(store, node, seed=secrets.token_bytes(64))


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
    one = await rig.desk.requests.withdraw(uuid7(), ANNA, to, Sats(10_000))
    two = await rig.desk.requests.withdraw(uuid7(), BERT, to, Sats(20_000))
    assert rig.available(ANNA) == 100_000 - 10_100
    await rig.desk.pay()
    await rig.balanced()
    sent, tx = await rig.desk.withdrawals.get(one.id)
    assert sent.state is WithdrawalState.SENT
    assert tx is not None
    raw = await regtest.rpc.record("getrawtransaction", tx.txid, True)
    outputs = cast("list[dict[str, object]]", raw["vout"])
    assert [str(out["value"]) for out in outputs][:2] == ["0.0001", "0.0002"]

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


async def outputs_of(regtest: Regtest, txid: str) -> list[Output]:
    return list(parse_transaction(bytes.fromhex(await regtest.rpc.text("getrawtransaction", txid))).outputs)


async def test_a_title_is_inscribed_moved_twice_and_proved(rig: Rig, regtest: Regtest) -> None:
    await deposited(rig, regtest, FLOAT_USER, 100_000)
    meme, poster = MemeId(uuid7()), secrets.token_bytes(200_000)
    await rig.desk.titles.inscribe(TitleBody(meme, ANNA, "A cat", "image/png", poster, "ab" * 32))
    assert await rig.desk.write_next()
    shown = await rig.desk.titles.get(meme)
    assert shown.title.origin == shown.title.outpoint
    await rig.balanced()
    for owner in (BERT, ANNA):
        await rig.desk.titles.transfer(uuid7(), meme, owner)
        assert await rig.desk.write_next()
        await rig.balanced()
    await regtest.mine()
    await rig.sync()
    moved = await rig.desk.titles.get(meme)
    assert (moved.title.owner_id, moved.title.origin) == (ANNA, shown.title.origin)
    assert (moved.tx_state, moved.confirmations) == ("mined", 1)
    await rig.balanced()
    origin, point = Outpoint.parse(moved.title.origin), Outpoint.parse(moved.title.outpoint)
    way, inscribed = await prove_title(rig.world.reader, meme, origin, point)
    assert (len(way.path), inscribed.data, inscribed.map["creator"]) == (3, poster, ANNA)
    held = (await outputs_of(regtest, point.txid))[0]
    key = rig.world.keys.key(await rig.desk.accounts.path(ANNA, KeyUse.TITLE))
    assert (held.sats, held.script) == (1, key.script)


async def test_the_audit_finds_real_titles_right_and_a_wrong_owner_wrong(rig: Rig, regtest: Regtest) -> None:
    await deposited(rig, regtest, FLOAT_USER, 100_000)
    meme = MemeId(uuid7())
    rig.rules = replace(rig.rules, audit_grace_s=0)
    await rig.restart()
    await rig.desk.titles.inscribe(TitleBody(meme, ANNA, "A cat", "image/png", b"PNG", "ab" * 32))
    assert await rig.desk.write_next()
    rig.ledger.titles[meme] = BERT
    await rig.desk.audit.look()
    assert [one.kind for one in rig.desk.audit.report().differences] == [Kind.OWNER]
    await rig.desk.titles.transfer(uuid7(), meme, BERT)
    assert await rig.desk.write_next()
    for _ in range(2):
        await regtest.mine()
        await rig.sync()
        await rig.desk.audit.look()
        assert rig.desk.audit.report().differences == ()
    assert rig.desk.audit.report().titles == 1


async def test_a_faked_title_is_refused(rig: Rig, regtest: Regtest) -> None:
    """Whoever copies the inscription, byte for byte, has another origin; and only the first place counts."""
    await deposited(rig, regtest, FLOAT_USER, 100_000)
    meme = MemeId(uuid7())
    await rig.desk.titles.inscribe(TitleBody(meme, ANNA, "A cat", "image/png", b"PNG", "ab" * 32))
    assert await rig.desk.write_next()
    real = Outpoint.parse((await rig.desk.titles.get(meme)).title.origin)
    script = (await outputs_of(regtest, real.txid))[0].script
    forger = SigningKey(PrivateKey())
    coin = await regtest.fund(forger.address(Network.REGTEST), 50_000)
    await regtest.mine()
    spent = Spent(Outpoint(Txid(coin.txid), coin.vout), Sats(50_000), forger.script)
    copied = [Output(Sats(1), script), Output(Sats(1), forger.script), Output(Sats(49_000), forger.script)]
    [digest] = digests([spent], copied)
    raw = assemble([spent], [unlocking(forger.sign_digest(digest), forger.public_key)], copied)
    await regtest.rpc.text("sendrawtransaction", raw.hex())
    await regtest.mine()
    for vout in (0, 1):
        with pytest.raises(OriginUnproved, match="comes from"):
            await prove_title(rig.world.reader, meme, real, Outpoint(txid_of(raw), vout))
    with pytest.raises(OriginUnproved, match="not one satoshi"):
        await prove_title(rig.world.reader, meme, real, Outpoint(txid_of(raw), 2))
    assert (await prove_title(rig.world.reader, meme, real, real))[0].path == (real,)


async def test_a_result_is_recorded_read_back_and_verified(rig: Rig, regtest: Regtest) -> None:
    await deposited(rig, regtest, FLOAT_USER, 100_000)
    payload = json.dumps({"round": "x", "ranking": ["ä"] * 5_000}, separators=(",", ":"))
    round_id = uuid7()
    await rig.desk.results.record(round_id, payload)
    assert await rig.desk.write_next()
    await regtest.mine()
    await rig.sync()
    shown = await rig.desk.results.get(round_id)
    assert shown.tx_state == "mined"
    await rig.balanced()
    found = read_record_output((await outputs_of(regtest, shown.result.txid))[0].script)
    assert found.payload.decode() == payload
    assert found.authored.address == rig.world.keys.address(RECORD)
    verify(found.authored, Network.REGTEST)


async def test_a_payment_that_the_node_takes_and_never_mines_is_paid_for_by_a_child(
    rig: Rig, regtest: Regtest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deposited(rig, regtest, FLOAT_USER, 100_000)
    await deposited(rig, regtest, ANNA, 150_000)
    to = await regtest.rpc.text("getnewaddress")
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, to, Sats(10_000))
    with monkeypatch.context() as patch:
        # Below what miners take, and the node says yes.
        patch.setattr(spending, "SATS_PER_KB_MIN", 1)
        patch.setattr(rig.desk.wallet, "_fees", FeeRate(1))
        await rig.desk.pay()
    _, tx = await rig.desk.withdrawals.get(asked.id)
    assert tx is not None
    assert (tx.state, tx.fee_sats) == (TxState.SEEN, 1)
    rig.desk.bumping._rule = BumpRule(after_blocks=3, sats_per_kb=250, fee_max_sats=1_000)
    for _ in range(3):
        await regtest.mine()
        await rig.sync()
    assert (await rig.desk.withdrawals.get(asked.id))[0].state is WithdrawalState.SENT
    await rig.desk.keep_house()
    await rig.balanced()
    await regtest.mine()
    await rig.sync()
    assert (await rig.desk.withdrawals.get(asked.id))[0].state is WithdrawalState.CONFIRMED
    assert [one.state for one in rig.desk.books.live()] == [TxState.MINED] * 2
    await rig.balanced()


async def test_what_is_above_the_ceiling_is_swept_and_comes_back_accounted_for(
    rig: Rig, regtest: Regtest
) -> None:
    await deposited(rig, regtest, FLOAT_USER, 50_000)
    await deposited(rig, regtest, ANNA, 150_000)
    cold = await regtest.rpc.text("getnewaddress")
    rig.desk.sweeping.rule = HotRule(Network.REGTEST, 50_000, 150_000, cold)
    await rig.desk.keep_house()
    await rig.balanced()
    await regtest.mine()
    await rig.sync()
    assert sats_of(await regtest.rpc.call("getreceivedbyaddress", cold, 1)) == 100_000
    found = await rig.custody()
    assert (found.cold_sats, found.difference_sats, rig.balance(ANNA)) == (100_000, 0, 150_000)
    await regtest.fund(rig.world.keys.address(REFILL), 30_000)
    await regtest.mine()
    await rig.sync()
    found = await rig.custody()
    assert (found.cold_sats, found.difference_sats) == (70_000, 0)


async def test_a_double_spend_of_our_coin_is_contested_until_a_block_decides(
    rig: Rig, regtest: Regtest
) -> None:
    await deposited(rig, regtest, ANNA, 50_000)
    to = await regtest.rpc.text("getnewaddress")
    asked = await rig.desk.requests.withdraw(uuid7(), ANNA, to, Sats(10_000))
    tx = await rig.desk.withdrawals.batch()
    assert tx is not None
    # Somebody with our keys was faster at this node.
    point = Outpoint.parse(tx.inputs[0])
    coin = rig.desk.books.coins[point].value
    key = rig.world.keys.key(coin.path)
    spent, outputs = [Spent(point, coin.sats, key.script)], [Output(Sats(coin.sats - 100), key.script)]
    [digest] = digests(spent, outputs)
    rival = assemble(spent, [unlocking(key.sign_digest(digest), key.public_key)], outputs)
    await regtest.rpc.text("sendrawtransaction", rival.hex())
    await rig.desk.sender.send(tx.plan)
    found, ours = await rig.desk.withdrawals.get(asked.id)
    assert ours is not None
    assert (found.state, ours.state) == (WithdrawalState.SENT, TxState.CONTESTED)
    assert rig.desk.wallet.frozen == ""
    await rig.balanced()
    # This block has ours: the rival loses.
    await mined_elsewhere(regtest, tx.raw.hex())
    await rig.sync()
    assert (await rig.desk.withdrawals.get(asked.id))[0].state is WithdrawalState.CONFIRMED
    assert sats_of(await regtest.rpc.call("getreceivedbyaddress", to, 1)) == 10_000
    assert rig.desk.wallet.frozen == ""
    await rig.balanced()


async def test_a_deposit_that_is_double_spent_is_never_credited(rig: Rig, regtest: Regtest) -> None:
    wallet = Wallet(PrivateKey())
    wallet.receive(await regtest.fund(wallet.address, 50_000))
    await regtest.mine()
    first = wallet.pay(await rig.address(ANNA), 20_000)
    wallet.release(first)
    second = wallet.pay(await regtest.rpc.text("getnewaddress"), 20_000)
    await regtest.rpc.text("sendrawtransaction", first.raw_hex)
    await rig.mempool()
    [seen] = await rig.desk.deposits.listed(ANNA, "", 10)
    assert seen.state is DepositState.SEEN
    # The other spend is mined by somebody who never saw the first.
    await mined_elsewhere(regtest, second.raw_hex)
    await rig.sync()
    await rig.desk.tend()
    [gone] = await rig.desk.deposits.listed(ANNA, "", 10)
    assert (gone.state, rig.balance(ANNA), rig.ledger.credits) == (DepositState.REVERSED, 0, {})
    await rig.balanced()


async def test_a_thousand_payouts_in_one_transaction(rig: Rig, regtest: Regtest) -> None:
    await deposited(rig, regtest, ANNA, 1_000_000)
    to = await regtest.rpc.text("getnewaddress")
    rig.users.addresses[ANNA] = to
    payouts = [Payout(uuid7(), ANNA, Sats(400)) for _ in range(1_000)]
    queued, _ = await rig.desk.requests.pay_out(payouts)
    await rig.desk.pay()
    await regtest.mine()
    await rig.sync()
    found = await rig.desk.withdrawals.listed(ANNA, "", 1_000)
    assert {one.state for one in found} == {WithdrawalState.CONFIRMED}
    assert len({one.txid for one in found}) == 1
    assert sats_of(await regtest.rpc.call("getreceivedbyaddress", to, 1)) == 300_000
    assert len(queued) == 1_000
    await rig.balanced()


@pytest.mark.parametrize("step", ["before persist", "behind persist", "lost sending", "behind sending"])
async def test_killed_while_sending_pays_once(
    node: RpcNode, regtest: Regtest, tmp_path: Path, step: str
) -> None:
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, node, seed=secrets.token_bytes(64))
        await deposited(rig, regtest, ANNA, 100_000)
        to = await regtest.rpc.text("getnewaddress")
        asked = await rig.desk.requests.withdraw(uuid7(), ANNA, to, Sats(10_000))
        mortal = MortalStore(store)
        rig.world = replace(rig.world, records=Records(mortal), broadcaster=Dying(node, step))
        await rig.restart()
        if step.endswith("persist"):
            mortal.dies_at("txs", behind=step.startswith("behind"))
        with pytest.raises(Killed):
            await rig.desk.pay()
        rig.world = replace(rig.world, records=Records(store), broadcaster=node)
        for _ in range(2):
            await rig.restart()
            await rig.desk.pay()
            await rig.desk.tend()
            await rig.balanced()
            await regtest.mine()
            await rig.sync()
        found, _ = await rig.desk.withdrawals.get(asked.id)
        assert found.state is WithdrawalState.CONFIRMED
        assert sats_of(await regtest.rpc.call("getreceivedbyaddress", to, 1)) == 10_000
        assert rig.balance(ANNA) == 90_000 - found.share_sats


class Dying:
    """The node, with a process that is killed around sending."""

    def __init__(self, node: RpcNode, step: str) -> None:
        self._node = node
        self._step = step

    async def ask(self, txid: Txid) -> Sent:
        return await self._node.ask(txid)

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        if self._step == "behind sending":
            await self._node.send(raw, spent)
        raise Killed


async def mined_elsewhere(regtest: Regtest, raw: str) -> None:
    """A block, made by hand, with a transaction that this node would not take into its mempool."""
    tip = await regtest.rpc.record("getblockheader", await regtest.tip(), True)
    script = b"\x02" + (int(str(tip["height"])) + 1).to_bytes(2, "little") + b"\x00"
    nothing = bytes(32) + b"\xff" * 4 + bytes((len(script),)) + script + b"\xff" * 4
    subsidy = bytes(Output(Sats(1), b"\x51"))
    coinbase = b"\x01\0\0\0" + b"\x01" + nothing + b"\x01" + subsidy + bytes(4)
    payment = bytes.fromhex(raw)
    root = sha256d(sha256d(coinbase) + sha256d(payment))
    before = bytes.fromhex(str(tip["hash"]))[::-1]
    head = (0x2000_0000).to_bytes(4, "little") + before + root
    head += (int(str(tip["time"])) + 1).to_bytes(4, "little") + bytes.fromhex("ffff7f20")
    target = 0x7FFFFF << 232
    for nonce in range(1_000):
        header = head + nonce.to_bytes(4, "little")
        if int.from_bytes(sha256d(header), "little") <= target:
            block = header + b"\x02" + coinbase + payment
            assert await regtest.rpc.call("submitblock", block.hex()) is None
            return
    raise AssertionError("no nonce found")


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
