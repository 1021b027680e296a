"""Random days: lost answers, restarts, reorganisations, double spends, refusals. Tests are named by seeds."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.errors import Failure
from mesh.ids import uuid7
from services.chain.app.bumping import BumpRule
from services.chain.app.desk import Desk
from services.chain.app.orders import HalfDone, Policy
from services.chain.app.sweeping import HotRule
from services.chain.domain.addresses import address_of
from services.chain.domain.entities import TitleBody
from services.chain.domain.failures import WalletEmpty, WithdrawalNotFound
from services.chain.domain.keys import FLOAT, REFILL, KeyUse
from services.chain.domain.scripts import p2pkh
from services.chain.domain.states import WithdrawalState
from services.chain.domain.values import FLOAT_USER, MemeId, Network, Outpoint, Sats, Txid, UserId
from services.chain.domain.wire import sha256d
from tests.chain.chainsim import SimNode
from tests.chain.world import ANNA, BERT, CARA, RULES, Rig, inscribed_in, open_rig, opened_store

USERS = (ANNA, BERT, CARA)
STEPS = 60
SEEDS = 16
COLD = bytes(range(1, 21))
HOT = HotRule(Network.REGTEST, 20_000, 120_000, address_of(COLD, Network.REGTEST))
HOUSE = replace(
    RULES, hot=HOT, bump=BumpRule(1, 400, 500), policy=Policy(change_sats_min=2_000, coins_max=12)
)


class Play:
    """One random day, and what must be true when it has come to rest."""

    def __init__(self, rig: Rig, sim: SimNode, seed: int) -> None:
        self.rig = rig
        self.sim = sim
        self.random = random.Random(seed)
        self.asked: dict[str, bytes] = {}
        self.faucets: list[int] = []
        self.memes: list[MemeId] = []
        # Each as often as it stands here.
        self.deeds: list[Callable[[], Awaitable[None]]] = [
            *[self.withdraw] * 20,
            *[self.pay] * 13,
            *[self.deposit] * 7,
            *[self.mine] * 20,
            *[self.double_spend] * 5,
            *[self.evict] * 5,
            *[self.trouble_the_node] * 6,
            *[self.tend] * 8,
            *[self.lose_an_answer] * 4,
            *[self.restart] * 4,
            *[self.inscribe] * 3,
            *[self.move] * 3,
            *[self.keep_house] * 8,
            *[self.blocks_go_by] * 8,
            *[self.refill] * 2,
        ]

    async def script(self, user: UserId) -> bytes:
        path = FLOAT
        if user != FLOAT_USER:
            path = await self.rig.desk.accounts.path(user, KeyUse.DEPOSIT)
        return self.rig.world.keys.key(path).script

    async def begin(self) -> None:
        for user in (*USERS, FLOAT_USER):
            self.sim.fund(await self.script(user), 30_000)
        self.sim.mine()
        await self.rig.sync()

    async def play(self) -> None:
        for _ in range(STEPS):
            try:
                await self.random.choice(self.deeds)()
            except (Failure, HalfDone):
                await self.restart()

    async def withdraw(self) -> None:
        id_, key_hash = uuid7(), self.random.randbytes(20)
        self.asked[id_] = key_hash
        address = address_of(key_hash, Network.REGTEST)
        sats = Sats(self.random.randint(200, 15_000))
        await self.rig.desk.requests.withdraw(id_, self.random.choice(USERS), address, sats)

    async def pay(self) -> None:
        await self.rig.desk.pay()

    async def deposit(self) -> None:
        faucet = 1_000 + len(self.faucets)
        self.faucets.append(faucet)
        script = await self.script(self.random.choice(USERS))
        self.sim.fund(script, self.random.randint(200, 20_000), faucet=faucet)
        if self.random.random() < 0.5:
            await self.rig.mempool()

    async def mine(self) -> None:
        self.sim.mine(self.random.randint(1, 3))
        await self.rig.sync()

    async def double_spend(self) -> None:
        """A reorganisation, after which a deposit may be somebody else's."""
        depth = self.random.randint(1, 3)
        self.sim.rewind(depth)
        spent = {point for tx in self.sim.on_chain() for point in tx.spends}
        faucet = self.random.choice(self.faucets or [0])
        if Outpoint(Txid(sha256d(f"faucet {faucet}".encode()).hex()), 0) not in spent:
            self.sim.fund(p2pkh(bytes(20)), 9_000, faucet=faucet)
        self.sim.mine(depth + 1)
        await self.rig.sync()

    async def evict(self) -> None:
        if self.sim.sent:
            self.sim.evict(self.random.choice(self.sim.sent))

    async def trouble_the_node(self) -> None:
        moods = ["lose", "take and lose", "full", "take", "refuse"]
        self.sim.sends = self.random.choices(moods, [3, 3, 3, 5, 1], k=3)

    async def tend(self) -> None:
        await self.rig.desk.tend()

    async def lose_an_answer(self) -> None:
        self.rig.ledger.lose_answers = 1

    async def restart(self) -> None:
        for _ in range(3):
            with suppress(Failure):
                self.rig.desk = await Desk.open(self.rig.world, self.rig.rules, self.rig.fence)
                return

    async def inscribe(self) -> None:
        meme = MemeId(uuid7())
        self.memes.append(meme)
        body = TitleBody(meme, self.random.choice(USERS), "A cat", "image/png", b"\x89PNG" * 100, "ab" * 32)
        await self.rig.desk.titles.inscribe(body)
        await self.rig.desk.write_next()

    async def move(self) -> None:
        if self.memes:
            meme = self.random.choice(self.memes)
            await self.rig.desk.titles.transfer(uuid7(), meme, self.random.choice(USERS))
            await self.rig.desk.write_next()

    async def keep_house(self) -> None:
        """Sweeps, joins, and pays more for what is stuck."""
        await self.rig.desk.keep_house()

    async def blocks_go_by(self) -> None:
        self.sim.mine(self.random.randint(1, 3), only=[])
        await self.rig.sync()

    async def refill(self) -> None:
        self.sim.fund(self.rig.world.keys.key(REFILL).script, self.random.randint(200, 9_000))

    async def end(self) -> None:
        """Quiet days, with money in the float."""
        self.sim.sends, self.rig.ledger.lose_answers = [], 0
        self.sim.fund(await self.script(FLOAT_USER), 200_000)
        await self.restart()
        for _ in range(12):
            with suppress(WalletEmpty):
                await self.rig.desk.pay()
                while await self.rig.desk.write_next():
                    pass
                await self.rig.desk.tend()
            await self.rig.desk.keep_house()
            self.sim.mine()
            await self.rig.sync()

    async def check(self) -> None:
        """Every coin is accounted for; what is confirmed was paid once, and what failed was not."""
        assert self.rig.desk.wallet.frozen == ""
        await self.rig.balanced()
        assert self.rig.ledger.holds == {}
        back = sum(self.sim.paid(self.rig.world.keys.key(REFILL).script))
        assert (await self.rig.custody()).cold_sats == sum(self.sim.paid(p2pkh(COLD))) - back
        for id_, key_hash in self.asked.items():
            paid = self.sim.paid(p2pkh(key_hash))
            try:
                found, _ = await self.rig.desk.withdrawals.get(id_)
            except WithdrawalNotFound:
                assert paid == []
                continue
            confirmed = found.state is WithdrawalState.CONFIRMED
            assert confirmed or found.state is WithdrawalState.FAILED
            assert paid == ([found.amount_sats] if confirmed else [])
        outputs = [out for tx in self.sim.on_chain() for out in tx.outputs]
        inscribed = [read.map["memeId"] for out in outputs if (read := inscribed_in(out.script))]
        assert sorted(inscribed) == sorted(self.memes)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_random_days_end_well(tmp_path: Path, seed: int) -> None:
    sim = SimNode()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        play = Play(await open_rig(store, sim, rules=HOUSE), sim, seed)
        await play.begin()
        await play.play()
        await play.end()
        await play.check()
