"""Rounds, leaderboards and results."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated

import strawberry
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2
from satreel.rounds.v1 import rounds_pb2, rounds_service_pb2

from graphql_gateway.arguments import about
from graphql_gateway.composition import part_of
from graphql_gateway.context import Info
from graphql_gateway.entities import Meme, Round, User
from graphql_gateway.ids import bare_id
from graphql_gateway.proto import proto_enum, proto_type, shown, shown_all
from graphql_gateway.rounds.payouts import PayoutExplanation, RoundRecord, if_played
from graphql_gateway.safety.declared import CALL, SAME_FOR_ALL, at_most, up_to
from graphql_gateway.scalars import Long, Sats


@proto_enum(rounds_pb2.RoundState, "RoundState")
class RoundState(enum.IntEnum):
    """States of a round."""

    PENDING = 1
    ACTIVE = 2
    CALCULATING = 3
    COMPLETED = 4
    VOIDED = 5


@proto_type(rounds_pb2.Anchor)
class Anchor:
    """A block that a round stands on."""

    height: Long
    hash: str
    orphaned_hashes: list[str] = up_to(20)


@proto_type(ledger_pb2.Parameters, name="Rules")
class Rules:
    """Rates and curve, stamped on a round."""

    version: int
    platform_fee_bp: int
    instant_bp: int
    creator_bp: int
    winner_bp: int
    ranks_paid: int
    payout_min_sats: Sats
    second_price_sats: Sats
    free_below_s: int
    session_max_s: int
    scored_seconds_max: int


@proto_type(rounds_pb2.Standing)
class Standing:
    """A line of the leaderboard."""

    rank: int
    score: Long
    scored_seconds: Long
    paid_seconds: Long
    viewers: Long
    running_sessions: Long
    takings_sats: Sats
    payout_sats: Sats

    @strawberry.field(description="The meme.", metadata=SAME_FOR_ALL)
    async def meme(self: rounds_pb2.Standing, info: Info) -> Meme | None:
        """The meme at this rank."""
        return await info.context.loaders.memes.load(self.meme_id)

    @strawberry.field(description="Its creator, who is paid from the pool.", metadata=SAME_FOR_ALL)
    async def creator(self: rounds_pb2.Standing, info: Info) -> User | None:
        """The meme's creator."""
        return await info.context.loaders.users.load(self.creator_id)


@proto_type(rounds_pb2.Leaderboard)
class Leaderboard:
    """Standings at one time."""

    at: datetime
    standings: list[Standing]
    final: bool


@proto_type(rounds_pb2.Entry)
class Entry:
    """A meme in a round."""

    quality_ppm: Long
    assigned_at: datetime

    @strawberry.field(description="The meme.", metadata=SAME_FOR_ALL)
    async def meme(self: rounds_pb2.Entry, info: Info) -> Meme | None:
        """The meme that plays."""
        return await info.context.loaders.memes.load(self.meme_id)


@proto_type(rounds_pb2.Result)
class Result:
    """A finished round, enough to recompute every payout."""

    standings: list[Standing] = up_to(100)
    fee_sats: Sats
    creators_sats: Sats
    owners_sats: Sats
    pool_sats: Sats
    carried_in_sats: Sats
    carried_out_sats: Sats
    txid: str | None
    record_json: str | None


@part_of(Round)
class RoundFields:
    """What rounds and ledger know of a round."""

    number: Long
    state: RoundState
    anchor: Anchor | None
    starts_at: datetime | None
    locks_at: datetime | None
    ended_at: datetime | None
    takings_sats: Sats
    pool_sats: Sats
    paid_seconds: Long
    void_reason: str | None

    @strawberry.field(description="Number of entries.")
    def entry_count(self: rounds_pb2.Round) -> int:
        """How many memes play."""
        return self.entries

    @strawberry.field(
        description="The memes that play, in the order assigned.",
        directives=(*CALL, *at_most(100)),
        metadata=SAME_FOR_ALL,
    )
    async def entries(self: rounds_pb2.Round, info: Info) -> list[Entry]:
        """All entries, at most 100."""
        request = rounds_service_pb2.ListEntriesRequest(round_id=self.id)
        response = await info.context.services.rounds.ListEntries(request)
        return shown_all(Entry, response.entries)

    @strawberry.field(
        description="Standings, live or final, the best first.",
        directives=(*CALL, *at_most(20, by="limit", within="standings")),
        metadata=SAME_FOR_ALL,
    )
    async def leaderboard(
        self: rounds_pb2.Round,
        info: Info,
        limit: Annotated[int, about("At most this many lines, up to 100.")] = 20,
    ) -> Leaderboard:
        """Up to 100 lines."""
        request = rounds_service_pb2.GetLeaderboardRequest(round_id=self.id, limit=limit)
        response = await info.context.services.rounds.GetLeaderboard(request)
        return shown(Leaderboard, response.leaderboard)

    @strawberry.field(
        description="What came of it; null until it is completed.", directives=CALL, metadata=SAME_FOR_ALL
    )
    async def result(self: rounds_pb2.Round, info: Info) -> Result | None:
        """The result."""
        if self.state != rounds_pb2.ROUND_STATE_COMPLETED:
            return None
        request = rounds_service_pb2.GetResultRequest(round_id=self.id)
        return shown(Result, (await info.context.services.rounds.GetResult(request)).result)

    @strawberry.field(
        description="The rules it is played by; null while it is pending.",
        directives=CALL,
        metadata=SAME_FOR_ALL,
    )
    async def rules(self: rounds_pb2.Round, info: Info) -> Rules | None:
        """Rates and curve."""
        if not self.HasField("starts_at"):
            return None
        response = await info.context.services.ledger.GetRound(
            ledger_service_pb2.GetRoundRequest(round_id=self.id)
        )
        return shown(Rules, response.round.parameters)

    @strawberry.field(
        description="Its public record in the ledger, from which every payout can be recomputed: how things "
        "stand so far, final once it is completed or voided. Null while it is pending.",
        directives=CALL,
    )
    async def public_record(self: rounds_pb2.Round, info: Info) -> RoundRecord | None:
        """The ledger's record, not the shorter one that is on chain."""
        if not self.HasField("starts_at"):
            return None
        request = ledger_service_pb2.GetRoundRecordRequest(round_id=self.id)
        response = await if_played(info.context.services.ledger.GetRoundRecord(request))
        return None if response is None else shown(RoundRecord, response.record)

    @strawberry.field(
        description="What a user, or everybody, got in it, recomputed from the public record with each step "
        "shown. Null while it is pending.",
        directives=CALL,
    )
    async def payout_explanation(
        self: rounds_pb2.Round,
        info: Info,
        user_id: Annotated[
            strawberry.ID | None, about("The user: global id or UUID; everybody unless given.")
        ] = None,
    ) -> PayoutExplanation | None:
        """The steps and the verdict."""
        bare = bare_id("User", user_id) if user_id else ""
        if not self.HasField("starts_at"):
            return None
        request = ledger_service_pb2.ExplainPayoutRequest(round_id=self.id, user_id=bare)
        response = await if_played(info.context.services.ledger.ExplainPayout(request))
        return None if response is None else shown(PayoutExplanation, response.explanation)
