"""What happens to the nodes: killed, frozen for longer than the lease, restarted; by chance, from a seed."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from random import Random

from tests.ledger.failover.cluster import Cluster, Node

PAUSE_S = (1.5, 5.0)
DOWN_S = (0.2, 3.0)
# In lifetimes of the lease.
FROZEN = (1.2, 2.5)
# How often it is the leader that is meant.
LEADER = 0.6


class Disturbance:
    """Disturbs one node at a time, and now and then a second one; the third is left alone."""

    def __init__(self, cluster: Cluster, random: Random) -> None:
        self.done: Counter[str] = Counter()
        self._cluster = cluster
        self._random = random
        self._disturbed: set[str] = set()

    async def run(self, stop_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_on(stop_s))
            group.create_task(self._keep_on(stop_s, slower=4))

    async def _keep_on(self, stop_s: float, slower: int = 1) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(*PAUSE_S) * slower)
            if time.monotonic() >= stop_s:
                return
            node = await self._pick()
            if node.name in self._disturbed:
                continue
            self._disturbed.add(node.name)
            await self._disturb(node)
            self._disturbed.discard(node.name)

    async def _pick(self) -> Node:
        nodes = self._cluster.nodes
        other = self._random.choice(nodes)
        if self._random.random() >= LEADER:
            return other
        leading = [node for node in nodes if await self._cluster.serves(node)]
        return leading[0] if leading else other

    async def _disturb(self, node: Node) -> None:
        what = self._random.choice(("kill", "freeze", "freeze", "restart", "freeze and kill"))
        self.done[what] += 1
        if what.startswith("freeze"):
            node.send(signal.SIGSTOP)
            await asyncio.sleep(self._random.uniform(*FROZEN) * self._cluster.lease_ttl_s)
        if what == "freeze":
            node.send(signal.SIGCONT)
            return
        if what == "restart":
            await node.stop()
        else:
            await node.kill()
            await asyncio.sleep(self._random.uniform(*DOWN_S))
        await node.start()
