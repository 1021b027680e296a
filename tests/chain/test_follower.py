"""The chain as told to others: what moves it, what does not, and what survives a restart."""

from __future__ import annotations

import pytest

from mesh.records import Store
from services.chain.app.ports import Found
from services.chain.domain.failures import NodeUnavailable
from services.chain.domain.headers import WINDOW_BLOCKS
from services.chain.domain.values import BlockHash
from tests.chain.chainsim import SimNode
from tests.chain.faults import Killed, MortalStore
from tests.chain.world import Rig, open_rig


def told(rig: Rig) -> list[tuple[int, int]]:
    """How many blocks each event orphaned and connected."""
    return [(len(switch.orphaned), len(switch.connected)) for _, switch in rig.news.switches]


async def test_each_block_is_told_once_with_rising_ids(rig: Rig, sim: SimNode) -> None:
    for _ in range(3):
        sim.mine()
        await rig.sync()
        await rig.sync()
    assert told(rig) == [(0, 1)] * 3
    ids = [id_ for id_, _ in rig.news.switches]
    assert ids == sorted(set(ids))
    assert rig.desk.books.chain.tip.hash == sim.tip


async def test_many_blocks_at_once_are_one_event_in_order(rig: Rig, sim: SimNode) -> None:
    sim.mine(WINDOW_BLOCKS + 20)
    await rig.sync()
    [(_, switch)] = rig.news.switches
    heights = [block.height for block in switch.connected]
    assert heights == list(range(4, WINDOW_BLOCKS + 24))
    await rig.restart()
    assert rig.desk.books.chain.tip.hash == sim.tip


async def test_a_tip_that_jumps_back_moves_nothing_until_another_chain_wins(rig: Rig, sim: SimNode) -> None:
    sim.mine(3)
    await rig.sync()
    tip = rig.desk.books.chain.tip
    sim.rewind(2)
    await rig.sync()
    assert (told(rig), rig.desk.books.chain.tip) == ([(0, 3)], tip)
    sim.mine()
    await rig.sync()
    assert told(rig)[1:] == [(2, 1)]


async def test_a_node_that_lags_on_another_branch_is_not_followed(rig: Rig, sim: SimNode) -> None:
    sim.mine(3)
    await rig.sync()
    tip = rig.desk.books.chain.tip
    sim.rewind(2)
    sim.mine()
    header = sim.header

    async def forgets(block_hash: BlockHash) -> Found | None:
        return None if block_hash == tip.hash else await header(block_hash)

    sim.header = forgets  # type: ignore[method-assign]
    await rig.sync()
    assert (told(rig), rig.desk.books.chain.tip) == ([(0, 3)], tip)
    sim.mine(3)
    await rig.sync()
    assert told(rig)[1:] == [(2, 4)]


async def test_blocks_that_come_back_are_told_again(rig: Rig, sim: SimNode) -> None:
    sim.mine(2)
    await rig.sync()
    first = sim.rewind(2)
    sim.mine(3)
    await rig.sync()
    sim.jump(first)
    sim.mine(2)
    await rig.sync()
    assert told(rig) == [(0, 2), (2, 3), (3, 4)]


async def test_an_event_that_was_perhaps_not_told_is_told_again(sim: SimNode, store: Store) -> None:
    rig = await open_rig(store, sim)
    for at in range(3):
        sim.mine()
        mortal = MortalStore(store, at=at)
        dying = await open_rig(mortal, sim)
        with pytest.raises(Killed):
            await dying.desk.follower.follow()
        alive = await open_rig(store, sim)
        await alive.sync()
        switches = [switch for _, switch in alive.news.switches]
        assert switches[-1].connected[-1].hash == sim.tip, at
        assert len(switches) == 1
    assert rig.news.switches == []


async def test_a_node_that_is_away_is_waited_for(rig: Rig, sim: SimNode) -> None:
    sim.down = True
    with pytest.raises(NodeUnavailable):
        await rig.desk.follower.follow()
    sim.down = False
    sim.mine(2)
    await rig.sync()
    assert told(rig) == [(0, 2)]


async def test_a_chain_that_does_not_meet_ours_is_refused(rig: Rig) -> None:
    other = SimNode(salt=1_000)
    other.mine(5)
    rig.desk.follower._node = other
    with pytest.raises(NodeUnavailable):
        await rig.desk.follower.follow()
    assert rig.news.switches == []
