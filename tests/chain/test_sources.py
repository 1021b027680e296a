"""Several sources as one: who lies, lags, fails or says yes to no effect is left out, and comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from mesh.clock import ManualClock
from services.chain.app.fees import FeeRate
from services.chain.app.ports import Broadcast, Found, Sent
from services.chain.app.sources import SEEN_WITHIN_S, UNSEEN_MAX, Broadcasters, Readers
from services.chain.app.trust import LAGGED_S, LIED_S, UNSEEN_S, Trust
from services.chain.domain.consensus import CONSENSUS
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.values import BlockHash, Network, Txid
from services.chain.domain.wire import Output, txid_of
from tests.chain.chainsim import SimNode

REGTEST = CONSENSUS[Network.REGTEST]


class Panel:
    """Two readers over chains of their own."""

    def __init__(self, *names: str) -> None:
        self.clock = ManualClock()
        self.told: list[tuple[str, bool]] = []
        self.trust = Trust(self.clock, lambda name, usable: self.told.append((name, usable)))
        self.sims = {name: SimNode() for name in names}
        self.readers = Readers(self.sims, self.trust, REGTEST)


class Liar(SimNode):
    """Tells another header than was asked for."""

    async def header(self, block_hash: BlockHash) -> Found | None:
        return await super().header(self.tip)


async def test_the_first_answers_and_the_next_when_it_does_not() -> None:
    panel = Panel("first", "second")
    first, second = panel.sims.values()
    first.mine()
    assert await panel.readers.header(first.tip) is not None
    first.down = True
    assert await panel.readers.hash_at(3) == await second.hash_at(3)
    assert (
        panel.told == [("first", True), ("second", True), ("first", False)] or ("first", False) in panel.told
    )
    first.down = False
    await panel.readers.hash_at(3)
    assert panel.told[-1] == ("first", True)
    first.down = second.down = True
    with pytest.raises(NodeUnavailable):
        await panel.readers.best()


async def test_what_one_does_not_know_another_may() -> None:
    panel = Panel("first", "second")
    _, second = panel.sims.values()
    second.mine()
    found = await panel.readers.header(second.tip)
    assert found is not None
    assert found.header.hash == second.tip
    assert await panel.readers.header(BlockHash("ab" * 32)) is None


async def test_a_liar_is_left_out_for_a_while_and_comes_back() -> None:
    panel = Panel("liar", "honest")
    liar = panel.sims["liar"] = Liar()
    panel.readers = Readers(panel.sims, panel.trust, REGTEST)
    honest = panel.sims["honest"]
    low = await honest.hash_at(1)
    assert low is not None
    found = await panel.readers.header(low)
    assert found is not None
    assert found.header.hash == low
    assert not panel.trust.has("liar")
    assert ("liar", False) in panel.told
    liar.mine(5)
    assert {await panel.readers.best() for _ in range(4)} == {honest.tip}
    await panel.clock.advance(LIED_S)
    assert panel.trust.has("liar")
    assert liar.tip in {await panel.readers.best() for _ in range(4)}


async def test_whoever_told_the_best_block_is_blamed_whatever_others_are_asked_meanwhile() -> None:
    panel = Panel("first", "second")
    await panel.readers.best()  # the second's turn
    panel.sims["second"].down = True
    await panel.readers.hash_at(2)
    panel.readers.blame("it lied", lied=True)
    assert (panel.trust.has("first"), panel.trust.has("second")) == (True, False)


async def test_one_of_another_network_is_left_out_at_the_start() -> None:
    panel = Panel("first", "second")
    panel.sims["first"].__init__(salt=5)  # type: ignore[misc] # another genesis block
    assert await panel.readers.hash_at(0) == REGTEST.genesis.hash
    assert (panel.trust.has("first"), panel.trust.has("second")) == (False, True)


async def test_alone_a_liar_leaves_nobody_to_ask() -> None:
    panel = Panel("only")
    panel.sims["only"] = Liar()
    panel.readers = Readers(panel.sims, panel.trust, REGTEST)
    low = await panel.sims["only"].hash_at(1)
    assert low is not None
    with pytest.raises(SourceLies):
        await panel.readers.header(low)
    with pytest.raises(NodeUnavailable, match="no source"):
        await panel.readers.best()


async def test_best_blocks_are_asked_in_turns_and_who_is_behind_is_left_out() -> None:
    panel = Panel("ahead", "behind")
    panel.sims["ahead"].mine(3)
    tips = [await panel.readers.best() for _ in range(4)]
    assert set(tips) == {sim.tip for sim in panel.sims.values()}
    while await panel.readers.best() != panel.sims["behind"].tip:
        pass
    panel.readers.blame("its best block is 3 behind ours", lied=False)
    assert (panel.trust.has("ahead"), panel.trust.has("behind")) == (True, False)
    assert {await panel.readers.best() for _ in range(4)} == {panel.sims["ahead"].tip}
    await panel.clock.advance(LAGGED_S)
    assert panel.trust.has("behind")


async def test_the_only_source_may_be_behind_but_must_not_lie() -> None:
    panel = Panel("only")
    await panel.readers.best()
    panel.readers.blame("behind", lied=False)
    assert panel.trust.has("only")
    panel.readers.blame("its chain breaks a rule", lied=True)
    assert not panel.trust.has("only")


@dataclass
class Mouth:
    """A broadcaster that says what it is told to."""

    says: Broadcast = Broadcast.ACCEPTED
    sent: list[bytes] = field(default_factory=list)

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        self.sent.append(raw)
        return Sent(self.says, "words")

    async def ask(self, txid: Txid) -> Sent:
        return Sent(self.says, "words")


@dataclass
class Mouths:
    first: Mouth = field(default_factory=Mouth)
    second: Mouth = field(default_factory=Mouth)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.trust = Trust(self.clock, lambda name, usable: None)
        self.both = Broadcasters({"first": self.first, "second": self.second}, self.trust, self.clock)


YES, NO, POLICY, RIVAL, UNKNOWN = (
    Broadcast.ACCEPTED,
    Broadcast.REJECTED,
    Broadcast.REFUSED,
    Broadcast.CONTESTED,
    Broadcast.UNKNOWN,
)


@pytest.mark.parametrize(
    ("first", "second", "together", "asked"),
    [
        (YES, NO, YES, 1),
        (NO, NO, NO, 2),
        (NO, YES, YES, 2),  # one's no is not believed: the payment would be made again
        (NO, UNKNOWN, UNKNOWN, 2),
        (NO, POLICY, POLICY, 2),
        (POLICY, POLICY, POLICY, 2),
        (UNKNOWN, NO, UNKNOWN, 2),
        (UNKNOWN, YES, YES, 2),
        (UNKNOWN, UNKNOWN, UNKNOWN, 2),
        (RIVAL, YES, RIVAL, 2),
        (RIVAL, NO, RIVAL, 2),
    ],
)
async def test_what_two_words_come_to(
    first: Broadcast, second: Broadcast, together: Broadcast, asked: int
) -> None:
    mouths = Mouths(Mouth(first), Mouth(second))
    assert (await mouths.both.send(b"tx", [])).outcome is together
    assert len(mouths.first.sent) + len(mouths.second.sent) == asked


async def test_a_yes_that_nobody_sees_is_sent_through_the_other_as_well() -> None:
    mouths = Mouths()
    await mouths.both.send(b"tx", [])
    assert (mouths.first.sent, mouths.second.sent) == ([b"tx"], [])
    await mouths.both.send(b"tx", [])
    assert (mouths.first.sent, mouths.second.sent) == ([b"tx", b"tx"], [b"tx"])


async def test_who_says_yes_to_no_effect_comes_last_for_a_while() -> None:
    mouths = Mouths()
    for number in range(UNSEEN_MAX):
        await mouths.both.send(bytes([number]), [])
    await mouths.clock.advance(SEEN_WITHIN_S)
    for number in range(UNSEEN_MAX):
        await mouths.both.send(bytes([number]), [])
    assert not mouths.trust.has("first")
    mouths.first.sent.clear()
    assert (await mouths.both.send(b"new", [])).outcome is YES
    assert mouths.first.sent == []
    await mouths.clock.advance(UNSEEN_S)
    await mouths.both.send(b"newer", [])
    assert mouths.first.sent == [b"newer"]


async def test_one_transaction_alone_costs_nobody_its_standing() -> None:
    mouths = Mouths()
    for _ in range(10):
        await mouths.both.send(b"tx", [])
        await mouths.clock.advance(SEEN_WITHIN_S)
    assert mouths.trust.has("first")


async def test_what_was_mined_before_anybody_looked_costs_nobody_its_standing() -> None:
    mouths = Mouths()
    for number in range(UNSEEN_MAX):
        for _ in range(2):
            await mouths.both.send(bytes([number]), [])
    assert mouths.trust.has("first")


async def test_the_only_broadcaster_keeps_its_standing() -> None:
    clock = ManualClock()
    trust = Trust(clock, lambda name, usable: None)
    alone = Broadcasters({"only": Mouth()}, trust, clock)
    for number in range(2 * UNSEEN_MAX):
        await alone.send(bytes([number]), [])
    await clock.advance(SEEN_WITHIN_S)
    for number in range(2 * UNSEEN_MAX):
        await alone.send(bytes([number]), [])
    assert trust.has("only")


async def test_asking_finds_who_has_it() -> None:
    mouths = Mouths(Mouth(UNKNOWN), Mouth(YES))
    assert (await mouths.both.ask(txid_of(b"tx"))).outcome is YES
    mouths = Mouths(Mouth(UNKNOWN), Mouth(RIVAL))
    assert (await mouths.both.ask(txid_of(b"tx"))).outcome is RIVAL


class Quotes:
    def __init__(self, *rates: int | None) -> None:
        self.rates = list(rates)

    async def sats_per_kb(self) -> int:
        rate = self.rates.pop(0)
        if rate is None:
            raise NodeUnavailable("no policy")
        return rate


async def test_the_fee_follows_the_policy_between_floor_and_ceiling() -> None:
    rate = FeeRate(100, 500, Quotes(50, 250, None, 1_000_000, 0))
    found = []
    for _ in range(5):
        await rate.refresh()
        found.append(rate.sats_per_kb)
    assert found == [100, 250, 250, 500, 100]
