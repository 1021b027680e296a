"""The viewer's balance and paid viewings, live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import strawberry
from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from graphql_gateway.accounts.queries import find_balance
from graphql_gateway.accounts.types import Account, StopReason
from graphql_gateway.context import Context, Info
from graphql_gateway.ids import bare_id
from graphql_gateway.proto import shown
from graphql_gateway.scalars import Long, Sats
from mesh.errors import Failure
from mesh.ids import uuid7

# A receipt comes every second; after this long without one the viewing is read from the ledger.
RECEIPT_WAIT_S = 5.0
CLOSE_TIMEOUT_S = 5.0


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


@strawberry.type
class AccountsSubscription:
    """The viewer's own affairs, live."""

    @strawberry.subscription(description="The viewer's balance now, and whenever it changes.")
    async def balance_changed(self, info: Info) -> AsyncIterator[Account]:
        """Ends with the viewer's log-in."""
        account_id = f"user:{info.context.require_viewer().id}"
        with info.context.live.ledger.subscribe() as news:
            yield shown(Account, await find_balance(info.context.services, account_id))
            async for one in news:
                if one.WhichOneof("news") == "snapshot":
                    await info.context.renew()
                    yield shown(Account, await find_balance(info.context.services, account_id))
                for account in one.event.accounts:
                    if account.id == account_id:
                        await info.context.renew()
                        yield shown(Account, account)

    @strawberry.subscription(
        description="Opens a paid viewing and holds its budget: one satoshi per full second while this stream is open. "
        "It tells each second what was burned, and ends when the budget is spent, the hour is over, the round is "
        "locked, or the client stops."
    )
    async def watch(
        self, info: Info, meme_id: strawberry.ID, budget: Sats, id: strawberry.ID | None = None
    ) -> AsyncIterator[WatchEvent]:
        """The open stream is the paid viewing."""
        info.context.require_viewer()
        meme = bare_id("Meme", meme_id)
        session_id = bare_id("Viewing", id) if id else uuid7()
        request = ledger_service_pb2.OpenSessionRequest(
            session_id=session_id, meme_id=meme, budget_sats=budget
        )
        session = (await info.context.services.ledger.OpenSession(request)).session
        try:
            with info.context.live.meter.metered(session_id) as receipts:
                yield _event(info.context, session)
                while not session.stop_reason:
                    session = await _next(info.context, session, receipts)
                    yield _event(info.context, session)
        finally:
            await asyncio.shield(_close(info.context, session))


async def _next(
    context: Context, session: ledger_pb2.Session, receipts: asyncio.Queue[ledger_service_pb2.MeterReceipt]
) -> ledger_pb2.Session:
    try:
        receipt = await asyncio.wait_for(receipts.get(), RECEIPT_WAIT_S)
    except TimeoutError:
        receipt = None
    await context.renew()
    if receipt is None or receipt.reason:
        request = ledger_service_pb2.GetSessionRequest(session_id=session.id)
        return (await context.services.ledger.GetSession(request)).session
    later = ledger_pb2.Session()
    later.CopyFrom(session)
    later.seconds, later.burned_sats = receipt.seconds, receipt.burned_sats
    later.stop_reason = receipt.stop_reason
    return later


async def _close(context: Context, session: ledger_pb2.Session) -> None:
    """Ends the viewing; when the ledger cannot be reached, it ends it itself after its silence."""
    if session.stop_reason:
        return
    request = ledger_service_pb2.CloseSessionRequest(session_id=session.id)
    try:
        await context.services.ledger.CloseSession(request, timeout=CLOSE_TIMEOUT_S)
    except Failure:
        return


def _event(context: Context, session: ledger_pb2.Session) -> WatchEvent:
    return WatchEvent(
        viewing_id=strawberry.ID(session.id),
        seconds=Long(session.seconds),
        burned_sats=Sats(session.burned_sats),
        budget_sats=Sats(session.budget_sats),
        stop_reason=StopReason(session.stop_reason) if session.stop_reason else None,
        film_url=context.tickets.film_url(session.id, session.meme_id),
    )
