"""What a client may ask for within a minute: requests, cost and log-ins; and how it is told.

https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-10.html
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from graphql_gateway.safety.leases import Leases, Standing
from graphql_gateway.safety.price import Charge, Priced
from graphql_gateway.safety.turns import Gate
from graphql_gateway.safety.windows import WINDOW_S
from mesh.errors import Exhausted

# Whoever has one IPv6 address has all of its network.
_NETWORK_BITS = 64
# Operations of one client, on WebSockets and event streams, that are read, paid for and begun at once.
BEGINNING_MAX = 2
# Events of one client's subscriptions that are executed at once, those apart that others began.
EVENTS_MAX = 4


class Policy(StrEnum):
    """What is counted."""

    # All that comes from an address, signed in or not.
    ADDRESS = "address"
    # Of a user, or of an address that nobody has signed in at.
    REQUESTS = "requests"
    # Likewise.
    COST = "cost"
    # Of an address.
    LOG_INS = "log-ins"


@dataclass(frozen=True, slots=True)
class Quotas:
    """Within a minute."""

    address: int = 5_000
    requests: int = 1_000
    cost: int = 500_000
    log_ins: int = 60


class RateLimited(Exhausted):
    """This is asked for more often than it may be; try again later."""

    reason = "RATE_LIMITED"


class Budgets:
    """Of all clients."""

    def __init__(self, leases: Leases, quotas: Quotas, *, running_max: int = 32) -> None:
        self.leases = leases
        self.gate = Gate(running_max)
        self.beginnings = Gate(BEGINNING_MAX)
        self.events = Gate(EVENTS_MAX)
        self.quotas = {
            Policy.ADDRESS: quotas.address,
            Policy.REQUESTS: quotas.requests,
            Policy.COST: quotas.cost,
            Policy.LOG_INS: quotas.log_ins,
        }

    def of(self, address: str) -> Budget:
        """For one HTTP request, or for all that one socket carries."""
        return Budget(self, network_of(address))


class Budget:
    """One client's."""

    def __init__(self, budgets: Budgets, network: str) -> None:
        self._budgets = budgets
        self._network = network
        # Who has signed in.
        self.user_id: str | None = None
        # What the last operation was found to be, and why it was not begun.
        self.priced: Priced | None = None
        self.refusal: RateLimited | None = None
        self._standings: dict[Policy, Standing] = {}

    async def arrive(self) -> None:
        """Before anything is done for a request. Raises RateLimited."""
        await self._take(Policy.ADDRESS, self._network, 1)

    async def ask(self) -> None:
        """One operation, whatever becomes of it. Raises RateLimited."""
        await self._take(Policy.REQUESTS, self.client, 1)

    async def log_in(self, times: int = 1) -> None:
        """Whatever tries a secret. Raises RateLimited."""
        await self._take(Policy.LOG_INS, self._network, times)

    async def spend(self, charge: Charge) -> None:
        """What an operation costs, before it is begun. Raises RateLimited."""
        self.priced = charge.priced
        if charge.priced.log_ins:
            await self.log_in(charge.priced.log_ins)
        await self.pay(charge)

    async def pay(self, charge: Charge) -> None:
        """The cost alone, of an operation that is carried out once more. Raises RateLimited."""
        await self.pay_values(math.ceil(charge.cost))

    async def pay_values(self, cost: int) -> None:
        """So much of the minute's cost. Raises RateLimited."""
        await self._take(Policy.COST, self.client, cost)

    def check(self) -> None:
        """Raises RateLimited when the last operation was refused: over HTTP that is the answer's status."""
        if self.refusal is not None:
            raise self.refusal

    @property
    def headers(self) -> dict[str, str]:
        """RateLimit and RateLimit-Policy of what was counted."""
        if not self._standings:
            return {}
        return {
            "RateLimit-Policy": _policies(
                tuple([(policy, standing.quota) for policy, standing in self._standings.items()])
            ),
            "RateLimit": ", ".join(
                f'"{policy}";r={max(0, standing.left)};t={math.ceil(standing.ends_s)}'
                for policy, standing in self._standings.items()
            ),
        }

    @property
    def client(self) -> str:
        """The user who has signed in, or the address."""
        return f"user:{self.user_id}" if self.user_id else self._network

    async def begin(self) -> Callable[[], None]:
        """For an operation on a connection that lasts: waits while as many of this client begin as may. Gives
        what ends the beginning, called once or more often. Raises TooManyWaiting.
        """
        gate, client = self._budgets.beginnings, self.client
        await gate.enter(client)
        begun = [client]

        def end() -> None:
            if begun:
                gate.leave(begun.pop())

        return end

    def place(self) -> AbstractAsyncContextManager[None]:
        """For one operation: waits while as many of this client are under way as may be.

        Raises TooManyWaiting.
        """
        return self._budgets.gate.passed(self.client)

    def event(self) -> AbstractAsyncContextManager[None]:
        """For an event of a subscription that this client began: as `place`, with others of its events."""
        return self._budgets.events.passed(self.client)

    async def _take(self, policy: Policy, whose: str, amount: int) -> None:
        quota = self._budgets.quotas[policy]
        standing = await self._budgets.leases.take(f"{policy}:{whose}", quota=quota, amount=amount)
        self._standings[policy] = standing
        if standing.wait_s is not None:
            self.refusal = RateLimited(
                policy=policy,
                quota=quota,
                window_s=WINDOW_S,
                retry_after_s=max(1, math.ceil(standing.wait_s)),
            )
            raise self.refusal


@lru_cache(maxsize=100)
def _policies(quotas: tuple[tuple[Policy, int], ...]) -> str:
    return ", ".join(f'"{policy}";q={quota};w={WINDOW_S}' for policy, quota in quotas)


@lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """The address, or an IPv6 address's network; what is no address stands for itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return f"{IPv6Address(int(parsed) >> (128 - _NETWORK_BITS) << (128 - _NETWORK_BITS))}/{_NETWORK_BITS}"
    return str(parsed)
