"""Users, balances and paid viewings."""

from __future__ import annotations

import enum
from datetime import datetime

import strawberry
from satreel.content.v1 import content_pb2
from satreel.identity.v1 import identity_pb2
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2
from strawberry import relay

from graphql_gateway.arguments import After, First
from graphql_gateway.composition import part_of
from graphql_gateway.connections import Connection, Page, connect
from graphql_gateway.context import Info
from graphql_gateway.entities import Meme, User
from graphql_gateway.proto import proto_enum, proto_type
from graphql_gateway.safety.declared import PAGE, SAME_FOR_ALL, up_to
from graphql_gateway.scalars import Long, Sats


@proto_enum(identity_pb2.Role, "Role")
class Role(enum.IntEnum):
    """What a user may do."""

    USER = 1
    ADMIN = 2


@proto_enum(identity_pb2.ChallengePurpose, "ChallengePurpose")
class ChallengePurpose(enum.IntEnum):
    """What a challenge proves."""

    LOG_IN = 1
    PAYOUT_ADDRESS = 2


@proto_enum(ledger_pb2.StopReason, "StopReason")
class StopReason(enum.IntEnum):
    """Why a paid viewing ended."""

    CLOSED = 1
    BUDGET_SPENT = 2
    TIME_LIMIT = 3
    ROUND_LOCKED = 4
    ROUND_VOIDED = 5
    SILENCE = 6


@proto_type(ledger_pb2.Title)
class Title:
    """Who owns a meme."""

    since: datetime

    @strawberry.field(description="The meme.", metadata=SAME_FOR_ALL)
    async def meme(self: ledger_pb2.Title, info: Info) -> Meme | None:
        """The meme itself; null when it is no longer shown."""
        return await info.context.loaders.memes.load(self.meme_id)


@part_of(User)
class UserFields:
    """What identity and ledger know of a user."""

    address: str
    display_name: str
    roles: list[Role] = up_to(4)
    payout_address: str | None
    auto_payout: bool
    created_at: datetime

    @strawberry.field(
        description="Titles that the user owns, by meme.", directives=PAGE, metadata=SAME_FOR_ALL
    )
    async def titles(
        self: identity_pb2.User,
        info: Info,
        first: First = None,
        after: After = None,
    ) -> Connection[Title]:
        """Owned titles."""

        async def fetch(size: int, token: str) -> Page:
            request = ledger_service_pb2.ListTitlesRequest(owner_id=self.id, page_size=size, page_token=token)
            response = await info.context.services.ledger.ListTitles(request)
            return Page(response.titles, response.next_page_token)

        return await connect(fetch, first=first, after=after)


@part_of(Meme)
class MemeOwnership:
    """What the ledger knows of a meme."""

    @strawberry.field(
        description="Its title: who owns it and since when; null until it is issued.", metadata=SAME_FOR_ALL
    )
    async def title(self: content_pb2.Meme, info: Info) -> Title | None:
        """The title in the ledger."""
        return await info.context.loaders.titles.load(self.id)

    @strawberry.field(description="Who owns it; null until its title is issued.", metadata=SAME_FOR_ALL)
    async def owner(self: content_pb2.Meme, info: Info) -> User | None:
        """The title's owner."""
        title = await info.context.loaders.titles.load(self.id)
        return None if title is None else await info.context.loaders.users.load(title.owner_id)


@proto_type(identity_pb2.Challenge)
class Challenge:
    """Text to sign with a wallet, once."""

    id: strawberry.ID
    message: str
    expires_at: datetime


@proto_type(ledger_pb2.Account)
class Account:
    """One account of the ledger."""

    id: str
    asset: str
    balance: Sats
    held: Sats
    available: Sats
    debt_sats: Sats


@proto_type(ledger_pb2.Posting)
class Posting:
    """A transfer as it stands in the journal."""

    sequence: Long
    transfer_id: str
    debit_account: str
    credit_account: str
    asset: str
    amount: Sats
    memo: str
    posted_at: datetime


@proto_type(ledger_pb2.Session, name="Viewing", loader="viewings")
class Viewing(relay.Node):
    """A paid viewing."""

    id: relay.NodeID[str]
    budget_sats: Sats
    seconds: Long
    burned_sats: Sats
    stop_reason: StopReason | None
    opened_at: datetime
    closed_at: datetime | None

    @strawberry.field(description="What is watched.")
    async def meme(self: ledger_pb2.Session, info: Info) -> Meme | None:
        """The meme."""
        return await info.context.loaders.memes.load(self.meme_id)


@proto_type(identity_pb2.SessionInfo, name="LogInSession")
class LogInSession:
    """A log-in on one device."""

    id: strawberry.ID
    created_at: datetime
    refreshed_at: datetime
    client: str


@proto_type(identity_pb2.Session, name="Tokens")
class Tokens:
    """What a log-in gives."""

    id: strawberry.ID
    access_token: str
    refresh_token: str
    access_expires_at: datetime
    refresh_expires_at: datetime
    user: User
