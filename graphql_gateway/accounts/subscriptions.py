"""The viewer's balance and paid viewings, live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import strawberry
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from graphql_gateway.accounts.queries import find_balance
from graphql_gateway.accounts.types import Account, StopReason
from graphql_gateway.accounts.viewing import paid_viewing
from graphql_gateway.arguments import MemeId, NewId, about
from graphql_gateway.composition import part_of
from graphql_gateway.context import Context, Info
from graphql_gateway.entities import Subscription
from graphql_gateway.ids import bare_id, new_or_given
from graphql_gateway.live import sats_moved
from graphql_gateway.live.telling import Delivery, Telling
from graphql_gateway.proto import shown
from graphql_gateway.safety.access import SIGNED_IN
from graphql_gateway.scalars import Long, Sats


@strawberry.type(description="How a paid viewing goes, each second.")
class WatchEvent:
    """One second of a viewing."""

    viewing_id: strawberry.ID = strawberry.field(description="The viewing.")
    seconds: Long = strawberry.field(description="Full seconds counted.")
    burned_sats: Sats = strawberry.field(description="Satoshis burned: none below three seconds.")
    budget_sats: Sats = strawberry.field(description="At most this is burned.")
    stop_reason: StopReason | None = strawberry.field(
        description="Why it ended; null while it runs. The stream ends after it."
    )
    film_url: str = strawberry.field(
        description="Where the film is while this viewing runs: for a <video> element, with ranges."
    )


@part_of(Subscription)
class AccountsSubscription:
    """The viewer's own affairs, live."""

    @strawberry.subscription(
        description=f"The viewer's balance now, and whenever it changes. {Delivery.STATES.value}",
        directives=SIGNED_IN,
        metadata=Delivery.STATES.metadata,
    )
    async def balance_changed(self, info: Info) -> AsyncIterator[Account]:
        """Ends with the viewer's log-in."""
        context = info.context
        account_id = f"user:{context.require_viewer().id}"
        with context.live.ledger.subscribe(account_id, newest_of=lambda _: account_id) as news:
            context.telling = Telling(account_id, position=news.position)
            yield shown(Account, await find_balance(context.services, account_id))
            async for one in news:
                await context.renew()
                context.telling = Telling(account_id, position=news.position)
                if one.WhichOneof("news") == "snapshot":
                    yield shown(Account, await find_balance(context.services, account_id))
                else:
                    yield shown(Account, account_in(one.event.moved, account_id))

    @strawberry.subscription(
        description="Opens a paid viewing and holds its budget: one satoshi per full second while this "
        "stream is open. It tells each second what was burned, and ends when the budget is "
        "spent, the hour is over, the round is locked, or the client stops. When the connection breaks, "
        "a viewing with an `id` of the client's own stays open for 10 s: subscribing again with the same "
        "arguments takes it up, and the seconds in between cost nothing.",
        directives=SIGNED_IN,
    )
    async def watch(
        self,
        info: Info,
        meme_id: MemeId,
        budget: Annotated[Sats, about("At most this is burned, 1 to 3,600 satoshis; held at once.")],
        id: NewId = None,
    ) -> AsyncIterator[WatchEvent]:
        """The open stream is the paid viewing."""
        request = ledger_service_pb2.OpenSessionRequest(
            session_id=new_or_given("Viewing", id), meme_id=bare_id("Meme", meme_id), budget_sats=budget
        )
        viewing = paid_viewing(info.context, request, id_is_known=id is not None)
        async with aclosing(viewing) as seconds:
            async for session in seconds:
                yield _event(info.context, session)


def account_in(moved: ledger_service_pb2.Movements, account_id: str) -> ledger_pb2.Account:
    """An account whose satoshis were moved (`sats_moved`), as it is then."""
    place = next(place for place, name in sats_moved(moved) if name == account_id)
    balance, held = moved.balances[place], moved.held[place]
    return ledger_pb2.Account(
        id=account_id,
        asset="sat",
        balance=balance,
        held=held,
        available=balance - held,
        debt_sats=moved.debts_sats.get(place, 0),
    )


def _event(context: Context, session: ledger_pb2.Session) -> WatchEvent:
    return WatchEvent(
        viewing_id=strawberry.ID(session.id),
        seconds=Long(session.seconds),
        burned_sats=Sats(session.burned_sats),
        budget_sats=Sats(session.budget_sats),
        stop_reason=StopReason(session.stop_reason) if session.stop_reason else None,
        film_url=context.tickets.film_url(session.id, session.meme_id),
    )
