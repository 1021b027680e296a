"""What every `Broadcaster` keeps, over one real node: asked directly, through WhatsOnChain, through ARC."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import pytest

from sandbox.regtest import Regtest
from services.chain.app.ports import Broadcast, Broadcaster
from services.chain.domain.keys import FLOAT, KeyRing
from services.chain.domain.spending import ChangeRule, Spendable, draft, sign
from services.chain.domain.values import Network, Outpoint, Sats, Txid
from services.chain.domain.wire import Output, txid_of
from tests.chain.outside import Outside

BROADCASTERS = ("node", "whatsonchain", "arc")


@pytest.fixture(params=BROADCASTERS)
def broadcaster(request: pytest.FixtureRequest, outside: Outside) -> Broadcaster:
    made: dict[str, Broadcaster] = {
        "node": outside.node,
        "whatsonchain": outside.woc_sender(),
        "arc": outside.arc(),
    }
    return made[request.param]


@dataclass
class Payer:
    """One coin, and the transactions that spend it."""

    keys: KeyRing
    coin: Spendable

    @property
    def spent(self) -> list[Output]:
        return [Output(self.coin.sats, self.coin.script)]

    def pay(self, sats: int, *, coin: Spendable | None = None) -> bytes:
        script = self.keys.key(FLOAT).script
        rule = ChangeRule(script, 1, 1_000, 20)
        order = draft([Output(Sats(sats), script)], [coin or self.coin], rule, 100)
        return sign(order, self.keys.key).raw


@pytest.fixture
async def payer(regtest: Regtest) -> Payer:
    keys = KeyRing(secrets.token_bytes(64), Network.REGTEST)
    coin = await regtest.fund(keys.address(FLOAT), 100_000)
    await regtest.mine()
    point = Outpoint(Txid(coin.txid), coin.vout)
    return Payer(keys, Spendable(point, Sats(coin.sats), FLOAT, keys.key(FLOAT).script))


@pytest.mark.parametrize("known", [True, False], ids=["spent outputs known", "not known"])
async def test_a_good_one_arrives_and_may_be_sent_again(
    broadcaster: Broadcaster, payer: Payer, regtest: Regtest, known: bool
) -> None:
    raw = payer.pay(1_000)
    spent = payer.spent if known else []
    for _ in range(2):
        assert (await broadcaster.send(raw, spent)).outcome is Broadcast.ACCEPTED
    assert txid_of(raw) in await regtest.rpc.texts("getrawmempool")
    assert (await broadcaster.ask(txid_of(raw))).outcome is Broadcast.ACCEPTED
    await regtest.mine()
    assert (await broadcaster.send(raw, spent)).outcome is Broadcast.ACCEPTED


async def test_a_rival_is_contested_and_never_final(
    broadcaster: Broadcaster, payer: Payer, regtest: Regtest
) -> None:
    first, second = payer.pay(1_000), payer.pay(2_000)
    await regtest.rpc.text("sendrawtransaction", first.hex())
    sent = await broadcaster.send(second, payer.spent)
    assert sent.outcome is Broadcast.CONTESTED, sent
    assert txid_of(second) not in await regtest.rpc.texts("getrawmempool")


async def test_an_input_that_is_not_known_is_not_certain(broadcaster: Broadcaster, payer: Payer) -> None:
    ghost = Outpoint(Txid("ab" * 32), 0)
    coin = Spendable(ghost, payer.coin.sats, payer.coin.path, payer.coin.script)
    for spent in (payer.spent, []):
        sent = await broadcaster.send(payer.pay(1_000, coin=coin), spent)
        assert sent.outcome is Broadcast.UNKNOWN, sent


async def test_a_signature_that_fails_is_rejected(broadcaster: Broadcaster, payer: Payer) -> None:
    raw = bytearray(payer.pay(1_000))
    raw[-6] ^= 1  # the last output's script is signed
    sent = await broadcaster.send(bytes(raw), payer.spent)
    assert sent.outcome is Broadcast.REJECTED, sent


async def test_who_was_never_sent_anything_knows_nothing(broadcaster: Broadcaster) -> None:
    assert (await broadcaster.ask(Txid("cd" * 32))).outcome is Broadcast.UNKNOWN
