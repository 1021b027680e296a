"""Ledger and chain are made to differ on purpose, each way in which they can; what lasts is reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import structlog.testing

from mesh.errors import RemoteFailure
from mesh.ids import uuid7
from services.chain.app.title_audit import OWNERS_BATCH, PLACES_BATCH, Kind, Report, TitleAudit
from services.chain.domain.entities import Title, TitleBody
from services.chain.domain.failures import NodeUnavailable
from services.chain.domain.states import JobState
from services.chain.domain.values import FLOAT_USER, MemeId, Outpoint, Sats, UserId
from services.chain.domain.wire import Output, Spent, assemble, parse_transaction
from services.chain.rpc import mapping
from tests.chain.chainsim import SimNode
from tests.chain.world import ANNA, BERT, CARA, Rig, fund, open_rig, opened_store

GRACE_NS = 600 * 1_000_000_000


class HandClock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.ns = 1_800_000_000 * 1_000_000_000

    def now_ns(self) -> int:
        return self.ns

    def monotonic_s(self) -> float:
        return self.ns / 1e9

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("an audit does not wait")


class Audited:
    """A rig, its audit on a clock of its own, and titles in it."""

    def __init__(self, rig: Rig, sim: SimNode) -> None:
        self.rig, self.sim, self.clock = rig, sim, HandClock()
        world = rig.world
        self.audit = TitleAudit(
            records=world.records,
            books=rig.desk.books,
            accounts=rig.desk.accounts,
            keys=world.keys,
            source=world.reader,
            ledger=rig.ledger,
            clock=self.clock,
            grace_s=600,
        )

    async def title(self, owner: UserId = ANNA) -> MemeId:
        """Issued in the ledger, inscribed, mined."""
        meme = MemeId(uuid7())
        self.rig.ledger.titles[meme] = owner
        await self.rig.desk.titles.inscribe(TitleBody(meme, owner, "A cat", "image/png", b"PNG", "ab" * 32))
        assert await self.rig.desk.write_next()
        await self.mine()
        return meme

    async def mine(self) -> None:
        self.sim.mine()
        await self.rig.sync()

    async def change(self, meme: MemeId, **fields: object) -> None:
        """Falsifies the record of a title."""
        kept = await self.rig.world.records.titles.get(meme)
        assert kept is not None
        await self.rig.world.records.titles.put(kept, replace(kept.value, **fields))  # type: ignore[arg-type]

    async def look(self, *, after_ns: int = 0) -> Report:
        self.clock.ns += after_ns
        await self.audit.look()
        return self.audit.report()

    async def lasting(self) -> dict[MemeId, Kind]:
        """What is seen now and still there when the grace is over."""
        assert not (await self.look()).differences
        assert not (await self.look(after_ns=GRACE_NS - 1)).differences
        found = await self.look(after_ns=1)
        return {one.meme_id: one.kind for one in found.differences}


@pytest_asyncio.fixture
async def audited(tmp_path: Path) -> AsyncIterator[Audited]:
    sim = SimNode()
    async with opened_store(tmp_path / "chain.sqlite") as store:
        rig = await open_rig(store, sim)
        await fund(rig, sim, FLOAT_USER, 100_000)
        yield Audited(rig, sim)


async def test_what_agrees_is_not_reported(audited: Audited) -> None:
    memes = [await audited.title(owner) for owner in (ANNA, BERT)]
    assert audited.audit.report() == Report(0, 0, ())
    assert await audited.lasting() == {}
    found = audited.audit.report()
    assert (found.looked_ns, found.titles) == (audited.clock.ns, len(memes))


async def test_a_sale_is_no_difference_while_its_move_is_under_way(audited: Audited) -> None:
    meme = await audited.title()
    audited.rig.ledger.titles[meme] = BERT
    assert not (await audited.look()).differences
    await audited.rig.desk.titles.transfer(uuid7(), meme, BERT)
    assert await audited.rig.desk.write_next()
    await audited.mine()
    assert await audited.lasting() == {}


async def test_a_sale_whose_move_never_comes_is_reported_until_it_does(audited: Audited) -> None:
    meme = await audited.title()
    audited.rig.ledger.titles[meme] = BERT
    with structlog.testing.capture_logs() as logged:
        assert await audited.lasting() == {meme: Kind.OWNER}
        await audited.look(after_ns=1)
    [told] = [one for one in logged if one["log_level"] == "error"]
    assert (told["meme"], told["kind"], told["ledger_owner"], told["chain_owner"]) == (
        meme,
        "owner",
        BERT,
        ANNA,
    )
    shown = mapping.title_audit(audited.audit.report())
    [difference] = shown.differences
    assert (difference.ledger_owner_id, difference.chain_owner_id, shown.different) == (BERT, ANNA, 1)
    await audited.rig.desk.titles.transfer(uuid7(), meme, BERT)
    assert await audited.rig.desk.write_next()
    await audited.mine()
    with structlog.testing.capture_logs() as logged:
        assert not (await audited.look()).differences
    assert [one["event"] for one in logged] == ["ledger and chain agree on a title again"]


async def test_a_title_that_the_ledger_does_not_know(audited: Audited) -> None:
    meme = await audited.title()
    del audited.rig.ledger.titles[meme]
    assert await audited.lasting() == {meme: Kind.UNKNOWN}


async def test_a_title_that_is_never_inscribed(audited: Audited) -> None:
    meme = MemeId(uuid7())
    audited.rig.ledger.titles[meme] = ANNA
    await audited.rig.desk.titles.inscribe(TitleBody(meme, ANNA, "A cat", "image/png", b"PNG", "ab" * 32))
    assert await audited.lasting() == {meme: Kind.NOT_INSCRIBED}


async def test_an_owner_changed_on_both_sides_but_not_on_chain(audited: Audited) -> None:
    """Records and ledger say Cara; the output still pays Anna's key."""
    meme = await audited.title()
    audited.rig.ledger.titles[meme] = CARA
    await audited.change(meme, owner_id=CARA)
    assert await audited.lasting() == {meme: Kind.KEY}


async def test_a_move_that_is_signed_and_never_sent(audited: Audited) -> None:
    """Both sides say that it is the buyer's; on chain it is the seller's, as long as the float is empty."""
    meme = await audited.title()
    audited.rig.ledger.titles[meme] = BERT
    await audited.rig.desk.titles.transfer(uuid7(), meme, BERT)
    tx = await audited.rig.desk.titles.next()
    assert tx is not None
    assert await audited.lasting() == {meme: Kind.SPENT}


async def test_a_title_spent_by_somebody_else(audited: Audited) -> None:
    meme = await audited.title()
    assert await audited.lasting() == {}
    held = Outpoint.parse((await audited.rig.desk.titles.get(meme)).title.outpoint)
    theft = assemble([Spent(held, Sats(1), b"")], [b"\x51"], [Output(Sats(1), b"\x51")])
    tx = parse_transaction(theft)
    audited.sim.pool[tx.txid] = tx
    assert await audited.lasting() == {meme: Kind.SPENT}


async def test_a_title_that_leads_to_another_origin(audited: Audited) -> None:
    meme, other = await audited.title(), await audited.title()
    elsewhere = (await audited.rig.desk.titles.get(other)).title.outpoint
    await audited.change(meme, outpoint=elsewhere)
    assert await audited.lasting() == {meme: Kind.ORIGIN}
    [found] = audited.audit.report().differences
    assert found.detail.startswith("other_origin: ")


async def test_a_title_whose_transaction_nobody_knows(audited: Audited) -> None:
    meme = await audited.title()
    await audited.change(meme, outpoint=f"{'ab' * 32}_0")
    assert await audited.lasting() == {meme: Kind.ORIGIN}
    assert audited.audit.report().differences[0].detail.startswith("missing: ")


async def test_a_title_is_proved_on_its_way_from_place_to_place(audited: Audited) -> None:
    meme = await audited.title()
    await audited.look()
    for owner in (BERT, CARA, ANNA):
        await audited.rig.desk.titles.transfer(uuid7(), meme, owner)
        audited.rig.ledger.titles[meme] = owner
        assert await audited.rig.desk.write_next()
        await audited.mine()
    assert await audited.lasting() == {}
    origin = (await audited.rig.desk.titles.get(meme)).title.origin
    await audited.change(meme, outpoint=origin)
    assert await audited.lasting() == {meme: Kind.SPENT}, "the origin itself was left long ago"


async def test_many_titles_are_looked_at_in_turn(audited: Audited) -> None:
    memes = [MemeId(f"0190{number:04x}-0000-7000-8000-000000000000") for number in range(OWNERS_BATCH + 5)]
    for meme in memes:
        audited.rig.ledger.titles[meme] = ANNA
        await audited.rig.world.records.titles.create(Title(meme, ANNA, JobState.QUEUED, 0))
    looks = len(memes) // PLACES_BATCH + 1
    for _ in range(looks - 1):
        assert (await audited.look()).looked_ns == 0
    found = await audited.look(after_ns=GRACE_NS)
    assert (found.titles, len(found.differences)) == (len(memes), len(memes))
    shown = mapping.title_audit(found)
    assert (len(shown.differences), shown.different) == (len(memes), len(memes))


async def test_what_does_not_answer_is_asked_again(audited: Audited) -> None:
    meme = await audited.title()
    audited.rig.ledger.titles[meme] = BERT
    await audited.look()
    audited.rig.ledger.down = True
    with pytest.raises(RemoteFailure):
        await audited.look(after_ns=GRACE_NS)
    audited.rig.ledger.down, audited.sim.down = False, True
    with pytest.raises(NodeUnavailable):
        await audited.look()
    audited.sim.down = False
    assert [one.kind for one in (await audited.look()).differences] == [Kind.OWNER]
