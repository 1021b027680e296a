"""Identity's parts, and how they hang together: each is made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from mesh.clock import Clock
from services.identity.app.log_in import LogIn, Proofs
from services.identity.app.ports import Attempts, Challenges, News, Sessions, Users, UserTokens, Wallets
from services.identity.app.profiles import Profiles
from services.identity.app.sessions import OpenSessions


@dataclass(frozen=True, slots=True)
class World:
    """What identity stands on. `randomness` gives secrets that nobody can guess."""

    users: Users
    sessions: Sessions
    challenges: Challenges
    attempts: Attempts
    wallets: Wallets
    user_tokens: UserTokens
    news: News
    clock: Clock
    new_id: Callable[[], str]
    randomness: Callable[[], str]


class Parts:
    """Everything that works in identity, wired. `site` is named in what users sign."""

    def __init__(self, world: World, *, site: str, admin_addresses: frozenset[str]) -> None:
        self.world = world
        self._site = site
        self._admin_addresses = admin_addresses

    @cached_property
    def proofs(self) -> Proofs:
        """That an address is the user's."""
        return Proofs(
            challenges=self.world.challenges,
            wallets=self.world.wallets,
            attempts=self.world.attempts,
            clock=self.world.clock,
            new_id=self.world.new_id,
            randomness=self.world.randomness,
            site=self._site,
        )

    @cached_property
    def log_in(self) -> LogIn:
        """From a proof to a session."""
        return LogIn(
            proofs=self.proofs,
            users=self.world.users,
            sessions=self.world.sessions,
            news=self.world.news,
            clock=self.world.clock,
            new_id=self.world.new_id,
            randomness=self.world.randomness,
        )

    @cached_property
    def sessions(self) -> OpenSessions:
        """Sessions, and the tokens that they give."""
        return OpenSessions(
            sessions=self.world.sessions,
            users=self.world.users,
            user_tokens=self.world.user_tokens,
            news=self.world.news,
            clock=self.world.clock,
            randomness=self.world.randomness,
            admin_addresses=self._admin_addresses,
        )

    @cached_property
    def profiles(self) -> Profiles:
        """Who users are."""
        return Profiles(
            users=self.world.users, proofs=self.proofs, news=self.world.news, clock=self.world.clock
        )
