"""What the intents of a round do in the world: idempotent commands, each with the event that tells of it."""

from __future__ import annotations

from mesh import deadlines
from services.rounds.app.assignment import Assignment
from services.rounds.app.ports import Chain, Ledger, RoundRefused
from services.rounds.domain import events, machine
from services.rounds.domain.earnings import earnings
from services.rounds.domain.events import Event
from services.rounds.domain.machine import Intent
from services.rounds.domain.values import Entry, InstantNs, Round

ATTEMPT_S = 5.0


class Effects:
    """Commands to ledger, chain and assignment."""

    def __init__(self, *, ledger: Ledger, chain: Chain, assignment: Assignment) -> None:
        self._ledger = ledger
        self._chain = chain
        self._assignment = assignment

    def entries(self, round_: Round, now_ns: InstantNs) -> tuple[Entry, ...]:
        """The entries the pending round should have."""
        return self._assignment.entries(round_, now_ns)

    async def carry_out(self, intent: Intent, round_: Round) -> Event:
        """Does it, within `ATTEMPT_S`. Raises Failure; then it may or may not be done."""
        do = {
            Intent.OPEN_LEDGER: self._open,
            Intent.LOCK_LEDGER: self._lock,
            Intent.PAY_POOL: self._pay,
            Intent.VOID_LEDGER: self._void,
            Intent.RECORD_RESULT: self._record,
            Intent.QUEUE_PAYOUTS: self._queue,
            Intent.RETIRE_ENTRIES: self._retire,
        }[intent]
        with deadlines.within(ATTEMPT_S):
            return await do(round_)

    async def _open(self, round_: Round) -> Event:
        try:
            return events.LedgerOpened(await self._ledger.open_round(round_))
        except RoundRefused as refused:
            return events.LedgerRefused(str(refused))

    async def _lock(self, round_: Round) -> Event:
        return events.LedgerLocked(await self._ledger.lock_round(round_.id))

    async def _pay(self, round_: Round) -> Event:
        return events.PoolPaid(await self._ledger.distribute(round_.id, machine.ranking(round_)))

    async def _void(self, round_: Round) -> Event:
        returned = await self._ledger.void_round(round_.id, round_.void_reason)
        return events.TakingsReturned() if returned else events.VoidRefused()

    async def _record(self, round_: Round) -> Event:
        return events.ResultAccepted(await self._chain.record_result(round_.id, round_.record_json))

    async def _queue(self, round_: Round) -> Event:
        earned = earnings(round_)
        if earned:
            await self._chain.queue_payouts(earned)
        return events.PayoutsQueued()

    async def _retire(self, round_: Round) -> Event:
        await self._assignment.retire(round_)
        return events.EntriesRetired()
