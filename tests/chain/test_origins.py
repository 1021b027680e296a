"""Where ordinals come from: the rule against a slow model, and every way in which a trace can fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chain.app.origins import Flaw, OriginUnproved, prove_title, trace
from services.chain.domain.inscriptions import inscription
from services.chain.domain.scripts import p2pkh
from services.chain.domain.values import MemeId, Outpoint, Sats, Txid
from services.chain.domain.wire import Output, Spent, Transaction, assemble, parse_transaction

KEY = p2pkh(bytes(20))
MEME = MemeId("0190eeee-0000-7000-8000-00000000000e")
TITLE = inscription(bytes(20), "image/png", b"PNG", {"app": "satreel", "memeId": MEME})


@dataclass
class Chain:
    """Raw transactions by id; what they spend comes from outside when nobody made it."""

    raw: dict[Txid, bytes] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)

    async def transactions(self, txids: Sequence[Txid]) -> Mapping[Txid, bytes]:
        return {txid: self.raw[txid] for txid in txids if txid in self.raw}

    def add(self, spends: Sequence[Outpoint], sats: Sequence[int], *, script: bytes = KEY) -> Transaction:
        """A transaction; the first output has the script. Nothing spent: a coinbase."""
        points = list(spends) or [Outpoint(Txid("00" * 32), 0xFFFFFFFF)]
        outputs = [Output(Sats(one), KEY if at else script) for at, one in enumerate(sats)]
        unlocking = [b"\x51"] * len(points)
        raw = assemble([Spent(p, Sats(0), b"") for p in points], unlocking, outputs, next(self.numbers))
        tx = parse_transaction(raw)
        self.raw[tx.txid] = raw
        return tx

    def coin(self, sats: int) -> Outpoint:
        return Outpoint(self.add([], [sats]).txid, 0)


def point(tx: Transaction, vout: int = 0) -> Outpoint:
    return Outpoint(tx.txid, vout)


@dataclass
class Model:
    """Every satoshi has a name, and lies in an output at a place: as slow as it is plain."""

    held: dict[Outpoint, list[int]] = field(default_factory=dict)
    origins: dict[Outpoint, Outpoint] = field(default_factory=dict)
    names: count[int] = field(default_factory=count)

    def add(self, tx: Transaction) -> None:
        singles = {self.held[p][0]: p for p in tx.spends if len(self.held[p]) == 1}
        flow = [name for spent in tx.spends for name in self.held.pop(spent)]
        if tx.is_coinbase:
            flow = [next(self.names) for out in tx.outputs for _ in range(out.sats)]
        for vout, out in enumerate(tx.outputs):
            mine, flow = flow[: out.sats], flow[out.sats :]
            self.held[point(tx, vout)] = mine
            if len(mine) == 1:
                parent = singles.get(mine[0])
                self.origins[point(tx, vout)] = self.origins[parent] if parent else point(tx, vout)


@settings(max_examples=150)
@given(st.data())
async def test_the_rule_is_that_of_the_slow_model(data: st.DataObject) -> None:
    chain, model = Chain(), Model()
    small = st.sampled_from([0, 1, 1, 1, 2, 3])
    for _ in range(3):
        model.add(chain.add([], data.draw(st.lists(small, min_size=1, max_size=4))))
    for _ in range(data.draw(st.integers(1, 8))):
        unspent = list(model.held)
        spends = data.draw(st.lists(st.sampled_from(unspent), min_size=1, max_size=4, unique=True))
        left, sats = sum(len(model.held[p]) for p in spends), []
        for wanted in data.draw(st.lists(small, min_size=1, max_size=5)):
            sats.append(min(wanted, left))
            left -= sats[-1]
        model.add(chain.add(spends, sats))
    for outpoint, origin in model.origins.items():
        assert (await trace(chain, outpoint)).origin == origin


async def refused(chain: Chain, outpoint: Outpoint, flaw: Flaw, **bounds: Any) -> str:
    with pytest.raises(OriginUnproved) as problem:
        await trace(chain, outpoint, **bounds)
    assert problem.value.flaw is flaw
    return str(problem.value)


async def test_a_title_moves_and_its_path_is_told() -> None:
    chain = Chain()
    born = chain.add([chain.coin(100)], [1, 90], script=TITLE)
    moved = chain.add([point(born), point(born, 1)], [1, 80])
    again = chain.add([point(moved), point(moved, 1)], [1, 70])
    found = await trace(chain, point(again))
    assert found.path == (point(again), point(moved), point(born))
    proved, what = await prove_title(chain, MEME, point(born), point(again))
    assert (proved, what.data) == (found, b"PNG")


async def test_a_satoshi_at_another_place_is_another() -> None:
    chain = Chain()
    born = chain.add([chain.coin(100)], [1, 90], script=TITLE)
    behind = chain.add([point(born, 1), point(born)], [1, 80])
    assert (await trace(chain, point(behind))).origin == point(behind)
    last = chain.add([chain.coin(1), point(born)], [1, 1])
    assert (await trace(chain, point(last, 1))).origin == point(born)


async def test_every_broken_link_is_told() -> None:
    chain = Chain()
    born = chain.add([chain.coin(100)], [1, 90], script=TITLE)
    moved = chain.add([point(born), point(born, 1)], [1, 80])
    assert "no output 2" in await refused(chain, point(moved, 2), Flaw.NO_OUTPUT)
    await refused(chain, point(moved, 1), Flaw.NOT_ONE_SAT)
    await refused(chain, Outpoint(Txid("ab" * 32), 0), Flaw.MISSING)
    forged = chain.add([point(moved), point(born, 7)], [1])
    wrong = chain.add([point(forged, 3)], [1])
    assert f"{forged.txid} has no output 3" in await refused(chain, point(wrong), Flaw.NO_OUTPUT)
    raw = chain.raw.pop(born.txid)
    assert born.txid in await refused(chain, point(moved), Flaw.MISSING)
    chain.raw[born.txid] = chain.raw[moved.txid]
    assert "got" in await refused(chain, point(moved), Flaw.WRONG_BYTES)
    chain.raw[born.txid] = raw[:-1]
    assert "end too early" in await refused(chain, point(moved), Flaw.WRONG_BYTES)


async def test_the_way_back_is_bounded() -> None:
    chain = Chain()
    tip = chain.coin(1)
    for _ in range(5):
        tip = point(chain.add([tip], [1]))
    assert len((await trace(chain, tip, steps_max=6)).path) == 6
    await refused(chain, tip, Flaw.TOO_FAR, steps_max=5)
    await refused(chain, tip, Flaw.TOO_FAR, reads_max=3)
    many = chain.add([chain.coin(0) for _ in range(50)] + [tip], [1])
    await refused(chain, point(many), Flaw.TOO_FAR, reads_max=40)


async def test_a_faked_origin_is_refused() -> None:
    chain = Chain()
    born = chain.add([chain.coin(100)], [1, 90], script=TITLE)
    copied = chain.add([chain.coin(100)], [1, 90], script=TITLE)
    bare = chain.add([chain.coin(100)], [1, 90])
    stranger = inscription(bytes(20), "image/png", b"PNG", {"app": "other", "memeId": MEME})
    others = chain.add([chain.coin(100)], [1, 90], script=stranger)
    for origin, held, flaw in (
        (born, copied, Flaw.OTHER_ORIGIN),
        (bare, bare, Flaw.NOT_INSCRIBED),
        (others, others, Flaw.NOT_INSCRIBED),
    ):
        with pytest.raises(OriginUnproved) as problem:
            await prove_title(chain, MEME, point(origin), point(held))
        assert problem.value.flaw is flaw
