"""A paid viewing from its opening to its end: an open stream is what is paid for.

A stream that breaks, or fails as a service is away, is not the viewer's wish: a viewing whose id the client
knew before is left open, and no longer reported. The seconds until the client takes it up, at any gateway,
are not counted; if nobody does, the ledger closes it (SILENCE), as it does when a gateway dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from satreel.ledger.v1 import ledger_pb2, ledger_service_pb2

from graphql_gateway.context import Context
from graphql_gateway.live.meter import Seat
from mesh import logs
from mesh.errors import Code, Failure, RemoteFailure

log = logs.logger(__name__)

# A receipt comes every second; after this long without one the viewing is read from the ledger.
RECEIPT_WAIT_S = 5.0
# A viewing outlives a ledger that is away for so long; then its stream fails, and the ledger closes it.
LEDGER_AWAY_MAX_S = 30.0
CLOSE_TIMEOUT_S = 5.0
# Failures of the mesh, which the client may see pass.
_PASSING = {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED}


async def paid_viewing(
    context: Context, request: ledger_service_pb2.OpenSessionRequest, *, id_is_known: bool
) -> AsyncGenerator[ledger_pb2.Session, None]:
    """Opens the viewing or takes it up, gives it each second as it then stands, and closes it in the end.

    `id_is_known`: the client chose its id, and can ask for it again. Raises MeterFull, AlreadyWatching.
    """
    context.live.meter.require_room()
    session = await _open(context, request, id_is_known)
    with context.live.meter.seat(session) as seat:
        has_failed = False
        try:
            await context.live.takeovers.tell(seat)
            yield session
            while not session.stop_reason:
                session = await _next(context, session, seat)
                yield session
        except Failure as failure:
            has_failed = failure.code in _PASSING
            raise
        finally:
            if not session.stop_reason and not seat.is_taken_over:
                if id_is_known and (context.may_return or has_failed):
                    context.live.meter.keep_open(seat)
                else:
                    await asyncio.shield(_close(context, session.id))


async def _open(
    context: Context, request: ledger_service_pb2.OpenSessionRequest, id_is_known: bool
) -> ledger_pb2.Session:
    try:
        return (await context.services.ledger.OpenSession(request)).session
    except RemoteFailure as failure:
        if failure.outcome_unknown:
            await _close(context, request.session_id)
        raise
    except asyncio.CancelledError:
        if not (id_is_known and context.may_return):
            await asyncio.shield(_close(context, request.session_id))
        raise


async def _next(context: Context, session: ledger_pb2.Session, seat: Seat) -> ledger_pb2.Session:
    receipt = await seat.receipt(RECEIPT_WAIT_S)
    await context.renew()
    if receipt is None or receipt.reason:
        return await _read(context, session, seat)
    later = ledger_pb2.Session()
    later.CopyFrom(session)
    later.seconds, later.burned_sats = receipt.seconds, receipt.burned_sats
    later.stop_reason = receipt.stop_reason
    return later


async def _read(context: Context, session: ledger_pb2.Session, seat: Seat) -> ledger_pb2.Session:
    request = ledger_service_pb2.GetSessionRequest(session_id=session.id)
    try:
        found = (await context.services.ledger.GetSession(request)).session
    except RemoteFailure as failure:
        if failure.outcome_unknown and seat.silent_s < LEDGER_AWAY_MAX_S:
            return session
        raise
    seat.heard()
    return found


async def _close(context: Context, session_id: str) -> None:
    request = ledger_service_pb2.CloseSessionRequest(session_id=session_id)
    try:
        await context.services.ledger.CloseSession(request, timeout=CLOSE_TIMEOUT_S)
    except Failure as failure:
        # It is no longer reported, so the ledger closes it by itself.
        log.info("a viewing could not be closed", session_id=session_id, problem=str(failure))
