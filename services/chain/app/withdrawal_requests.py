"""Asking for withdrawals and payouts: nothing is queued that the ledger does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mesh import logs, telemetry
from mesh.clock import Clock
from mesh.errors import IdReused
from mesh.records import Exists
from services.chain.app.holds import hold_of
from services.chain.app.ports import Ledger, Reason, Refusal, Users
from services.chain.app.records import Kept
from services.chain.app.withdrawal_queue import HIDDEN, WithdrawalQueue
from services.chain.domain.addresses import key_hash_of
from services.chain.domain.entities import Withdrawal
from services.chain.domain.failures import AddressInvalid, AmountTooSmall, InsufficientFunds
from services.chain.domain.states import WithdrawalState
from services.chain.domain.values import Network, Sats, UserId, account_of

log = logs.logger(__name__)


@dataclass(frozen=True, slots=True)
class WithdrawalRule:
    """The smallest amount, and what a withdrawal pays for the miner at most, in satoshis."""

    network: Network
    sats_min: int = 200
    fee_ceiling_sats: int = 100


@dataclass(frozen=True, slots=True)
class Payout:
    """Something to be paid out, the miner's fee included."""

    id: str
    user_id: UserId
    sats: Sats


class WithdrawalRequests:
    """What users ask for, and what rounds pay out to them."""

    def __init__(
        self, *, queue: WithdrawalQueue, ledger: Ledger, users: Users, clock: Clock, rule: WithdrawalRule
    ) -> None:
        self._queue = queue
        self._ledger = ledger
        self._users = users
        self._clock = clock
        self._rule = rule

    async def hold_new(self) -> None:
        """Asks again for holds whose outcome was unknown."""
        async with self._queue.asking:
            for kept in await self._queue.table.where("state", WithdrawalState.NEW):
                await self._hold([kept])

    async def withdraw(self, wanted_id: str, user_id: UserId, address: str, sats: Sats) -> Withdrawal:
        """Queues a withdrawal. Raises AddressInvalid, AmountTooSmall, InsufficientFunds, IdReused."""
        key_hash_of(address, self._rule.network)
        if sats < self._rule.sats_min:
            raise AmountTooSmall(minimum=self._rule.sats_min)
        telemetry.note_cause(wanted_id)
        new = self._new(wanted_id, user_id, address, sats, self._rule.fee_ceiling_sats)
        async with self._queue.asking:
            if await self._queue.table.get(wanted_id) is None and (missing := await self._missing(new)):
                # Nothing is kept of what cannot be paid: it may be any number, and any number of them.
                raise missing
            kept = await self._open(new)
            if kept.value.state not in HIDDEN:
                return kept.value
            after, refusal = (await self._hold([kept]))[0]
        if refusal is not None:
            raise await self._missing(new) or InsufficientFunds(refusal.detail, needed=new.held_sats)
        return after.value

    async def _missing(self, wanted: Withdrawal) -> InsufficientFunds | None:
        """Why the balance does not cover it, if so."""
        available, needed = await self._ledger.available_sats(account_of(wanted.user_id)), wanted.held_sats
        return InsufficientFunds(available=available, needed=needed) if available < needed else None

    async def pay_out(self, payouts: Sequence[Payout]) -> tuple[list[Withdrawal], list[UserId]]:
        """Queues payouts; also returns the users who are left out."""
        known = await self._queue.table.get_many(payout.id for payout in payouts)
        fresh = {payout.user_id for payout in payouts if payout.id not in known}
        addresses = await self._users.payout_addresses(sorted(fresh))
        async with self._queue.asking:
            return await self._pay_out(payouts, addresses)

    async def _pay_out(
        self, payouts: Sequence[Payout], addresses: Mapping[UserId, str]
    ) -> tuple[list[Withdrawal], list[UserId]]:
        known = await self._queue.table.get_many(payout.id for payout in payouts)
        opened: list[Kept[Withdrawal]] = []
        skipped: list[UserId] = []
        for payout in payouts:
            telemetry.note_cause(payout.id)
            if payout.id in known:
                opened.append(_same_payout(known[payout.id], payout))
            elif (new := self._payable(payout, addresses.get(payout.user_id, ""))) is not None:
                opened.append(await self._open(new))
            else:
                skipped.append(payout.user_id)
        todo = [kept for kept in opened if kept.value.state in HIDDEN]
        done = [kept.value for kept in opened if kept.value.state not in HIDDEN]
        for after, refusal in await self._hold(todo) if todo else ():
            if refusal is None:
                done.append(after.value)
            else:
                skipped.append(after.value.user_id)
        return done, skipped

    def _payable(self, payout: Payout, address: str) -> Withdrawal | None:
        sats = Sats(payout.sats - self._rule.fee_ceiling_sats)
        if not address or sats < self._rule.sats_min:
            return None
        try:
            key_hash_of(address, self._rule.network)
        except AddressInvalid:
            log.warning("payout address cannot be paid", user=payout.user_id)
            return None
        return self._new(payout.id, payout.user_id, address, sats, self._rule.fee_ceiling_sats)

    def _new(self, id_: str, user_id: UserId, address: str, sats: Sats, ceiling: int) -> Withdrawal:
        now_ns = self._clock.now_ns()
        return Withdrawal(id_, user_id, address, sats, Sats(ceiling), WithdrawalState.NEW, now_ns)

    async def _open(self, wanted: Withdrawal) -> Kept[Withdrawal]:
        """Writes the wish down, or finds it. Raises IdReused."""
        try:
            return await self._queue.table.create(wanted)
        except Exists:
            found = await self._queue.table.get(wanted.id)
            if found is None:
                raise
            body = (found.value.user_id, found.value.address, found.value.amount_sats)
            if body != (wanted.user_id, wanted.address, wanted.amount_sats):
                raise IdReused from None
            return found

    async def _hold(
        self, wanted: Sequence[Kept[Withdrawal]]
    ) -> list[tuple[Kept[Withdrawal], Refusal | None]]:
        """Holds amount and fee of each in the ledger, and queues what it held."""
        kept = [
            await self._queue.put(w, WithdrawalState.NEW) if w.value.state is WithdrawalState.REFUSED else w
            for w in wanted
        ]
        refusals = await self._ledger.move([hold_of(w.value) for w in kept])
        done: list[tuple[Kept[Withdrawal], Refusal | None]] = []
        for one, refusal in zip(kept, refusals, strict=True):
            state = WithdrawalState.QUEUED if refusal is None else WithdrawalState.REFUSED
            refused = one.value.holds + (0 if refusal is None else 1)
            after = await self._queue.put(Kept(replace(one.value, holds=refused), one.generation), state)
            if refusal is None:
                self._queue.waiting[after.value.id] = after
                self._queue.tell(after.value, None)
            elif refusal.reason is not Reason.INSUFFICIENT:
                log.error("hold refused", withdrawal=one.value.id, detail=refusal.detail)
            done.append((after, refusal))
        return done


def _same_payout(kept: Kept[Withdrawal], payout: Payout) -> Kept[Withdrawal]:
    if (kept.value.user_id, kept.value.held_sats) != (payout.user_id, payout.sats):
        raise IdReused
    return kept
