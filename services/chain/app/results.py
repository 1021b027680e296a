"""Results of rounds: one signed data output each. The float pays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from mesh import telemetry
from mesh.clock import Clock
from mesh.errors import IdReused
from mesh.records import Exists
from services.chain.app.books import Books
from services.chain.app.floats import Float
from services.chain.app.orders import Order
from services.chain.app.pauses import Pauses
from services.chain.app.ports import News, ResultView
from services.chain.app.records import Kept
from services.chain.app.wallet import Wallet
from services.chain.domain.entities import NO_PLAN, NO_TXID, Result, Tx
from services.chain.domain.failures import DataTooLarge, RecordNotFound
from services.chain.domain.keys import RECORD, KeyRing
from services.chain.domain.record_outputs import record_output
from services.chain.domain.states import JOB, JobState, check
from services.chain.domain.values import PlanId, Purpose, Sats
from services.chain.domain.wire import Output

PAYLOAD_BYTES_MAX = 90_000


class Results:
    """Records of rounds on chain."""

    def __init__(
        self, *, books: Books, wallet: Wallet, float_: Float, keys: KeyRing, news: News, clock: Clock
    ) -> None:
        self._books = books
        self._wallet = wallet
        self._table = books.records.results
        self._float = float_
        self._keys = keys
        self._news = news
        self._clock = clock
        self._queue: dict[str, Kept[Result]] = {}
        # Of those that were refused, by round.
        self._pauses = Pauses(clock)

    async def recover(self) -> None:
        """Goes on with what was under way."""
        for state in (JobState.QUEUED, JobState.ASSIGNED):
            for kept in await self._table.where("state", state):
                if await self._wallet.settled(kept.value.plan) is None:
                    self._queue[kept.value.round_id] = await self._requeue(kept)
        for tx in self._books.live():
            if tx.purpose is Purpose.RESULT:
                await self.signed(tx)

    async def record(self, round_id: str, payload_json: str) -> ResultView:
        """Queues a record. Raises DataTooLarge, IdReused."""
        telemetry.note_cause(round_id)
        payload = payload_json.encode()
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise DataTooLarge(bytes=len(payload), maximum=PAYLOAD_BYTES_MAX)
        digest = hashlib.sha256(payload).hexdigest()
        wanted = Result(round_id, payload_json, digest, JobState.QUEUED, self._clock.now_ns())
        try:
            self._queue[round_id] = await self._table.create(wanted)
        except Exists:
            found = await self.get(round_id)
            if found.result.sha256 != digest:
                raise IdReused(round_id=round_id) from None
            return found
        return ResultView(wanted, None, 0)

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def next(self) -> Tx | None:
        """Makes the next transaction; None when nothing can be done now. Raises WalletEmpty."""
        for kept in self._queue.values():
            if not self._pauses.over(kept.value.round_id):
                continue
            order = Order(
                Purpose.RESULT,
                jobs=(kept.value.round_id,),
                outputs=(Output(Sats(0), self._script(kept.value)),),
                assign=partial(self._assign, kept),
            )
            return await self._float.make(order)
        return None

    def _script(self, result: Result) -> bytes:
        signer = self._keys.key(RECORD)
        address = signer.address(self._keys.network)
        return record_output(result.round_id, result.payload_json.encode(), address, signer.sign_message)

    async def _assign(self, kept: Kept[Result], plan: PlanId) -> None:
        check(JOB, kept.value.state, JobState.ASSIGNED)
        await self._table.put(kept, replace(kept.value, state=JobState.ASSIGNED, plan=plan))
        self._queue.pop(kept.value.round_id, None)

    async def signed(self, tx: Tx) -> None:
        """It has a transaction now."""
        kept = await self._table.get(tx.jobs[0])
        if kept is None or kept.value.state is JobState.SENT:
            return
        after = replace(kept.value, state=JobState.SENT, plan=tx.plan, txid=tx.txid)
        await self._table.put(kept, after)
        self._queue.pop(after.round_id, None)
        await self._tell(tx)

    async def mined(self, tx: Tx) -> None:
        """Tells who follows it."""
        await self._tell(tx)

    async def unmined(self, tx: Tx) -> None:
        """Tells who follows it."""
        await self._tell(tx)

    async def rejected(self, tx: Tx) -> None:
        """Once more."""
        self._pauses.begin(tx.jobs[0])
        kept = await self._table.get(tx.jobs[0])
        if kept is not None and kept.value.plan == tx.plan:
            self._queue[kept.value.round_id] = await self._requeue(kept)

    async def _requeue(self, kept: Kept[Result]) -> Kept[Result]:
        again = replace(kept.value, state=JobState.QUEUED, plan=NO_PLAN, txid=NO_TXID)
        return kept if again == kept.value else await self._table.put(kept, again)

    async def get(self, round_id: str) -> ResultView:
        """A round's record. Raises RecordNotFound."""
        kept = await self._table.get(round_id)
        if kept is None:
            raise RecordNotFound(round_id=round_id)
        return await self._view(kept.value)

    async def get_many(self, round_ids: Sequence[str]) -> list[ResultView]:
        """Those that exist, in the order asked."""
        found = await self._table.get_many(round_ids)
        return [await self._view(found[id_].value) for id_ in round_ids if id_ in found]

    async def _view(self, result: Result) -> ResultView:
        tx = await self._books.tx(result.plan)
        return ResultView(result, tx.state if tx else None, self._books.confirmations(tx))

    async def _tell(self, tx: Tx) -> None:
        kept = await self._table.get(tx.jobs[0])
        if kept is not None and kept.value.plan == tx.plan:
            self._news.changed(ResultView(kept.value, tx.state, self._books.confirmations(tx)))
