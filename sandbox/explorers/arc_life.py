"""What becomes of a submitted transaction, as the node tells: sent, seen, contested, mined, mined in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sandbox.explorers.arc_status import Problem, Submission, TxStatus, now
from sandbox.explorers.index import ChainIndex
from sandbox.explorers.wire import Submitted
from sandbox.rpc import NodeRefused, NodeRpc

SUBMISSIONS_MAX = 10_000

# What the node says to a transaction (code, beginning of its text), and ARC's problem for it.
_ACCEPTED = ((-27, ""), (-26, "257"))
_MISSING_INPUTS = (-25, "")
_CONFLICT = (-26, "258")
_PROBLEMS = {
    (-22, ""): 463,
    (-26, "16: mandatory-script"): 461,
    (-26, "64: dust"): 464,
    (-26, "66"): 465,
    (-26, "16: bad-txns-in-belowout"): 465,
    (-26, "16: bad-txns-vin"): 462,
    (-26, "16: bad-txns-inputs"): 462,
    (-26, "16: bad-txns-vout"): 464,
    (-26, "16: coinbase"): 462,
}


class Submissions:
    """Every transaction in ARC's care; `told` hears of each change of status. In memory only."""

    def __init__(self, rpc: NodeRpc, index: ChainIndex, told: Callable[[Submission], None]) -> None:
        self._rpc, self._index, self._told = rpc, index, told
        self._by_txid: dict[str, Submission] = {}
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def get(self, txid: str) -> Submission | None:
        """The transaction, if it was submitted here."""
        return self._by_txid.get(txid)

    def keep(self, tx: Submitted) -> Submission:
        """The transaction from now on in ARC's care."""
        if len(self._by_txid) >= SUBMISSIONS_MAX:
            self._by_txid.pop(next(iter(self._by_txid)))
        return self._by_txid.setdefault(tx.txid, Submission(tx))

    async def accept(self, submission: Submission) -> None:
        """Send it, and set its status. Raises Problem, and forgets it, when the node finds it invalid."""
        async with self._one_at_a_time:
            try:
                await self._refresh(submission)
            except Problem:
                self._by_txid.pop(submission.tx.txid, None)
                raise

    async def refresh_all(self) -> None:
        """Follow the node; what it refuses now that it once took is REJECTED."""
        await self._index.sync()
        for submission in tuple(self._by_txid.values()):
            async with self._one_at_a_time:
                if submission.tx.txid in self._by_txid:
                    try:
                        await self._refresh(submission)
                    except Problem as problem:
                        self._set(submission, TxStatus.REJECTED, extra_info=problem.extra_info)

    async def _refresh(self, submission: Submission) -> None:
        txid, was = submission.tx.txid, submission.status
        if block := self._index.block_of(txid):
            if submission.block is not block:
                submission.block, submission.status = block, TxStatus.RECEIVED  # another block is news
                self._set(submission, TxStatus.MINED)
        elif was is TxStatus.MINED:
            self._set(submission, TxStatus.MINED_IN_STALE_BLOCK)
        elif was is not TxStatus.REJECTED:
            await self._unmined(submission)

    async def reached(self, submission: Submission, awaited: str) -> None:
        """Returns when the status is reached."""
        while not submission.status.reaches(awaited):
            await self._changed.wait()

    async def _unmined(self, submission: Submission) -> None:
        txid = submission.tx.txid
        mined_rivals, waiting_rivals = self._index.rivals(txid, submission.tx.spends)
        if mined_rivals:
            self._set(submission, TxStatus.REJECTED, mined_rivals, "double spend: a competing tx is mined")
        elif waiting_rivals:
            self._contest(submission, waiting_rivals)
        elif txid in self._index.waiting.txs or submission.swallowed:
            self._seen(submission)
        else:
            await self._send(submission)

    async def _send(self, submission: Submission) -> None:
        try:
            await self._rpc.text("sendrawtransaction", submission.tx.raw.hex())
        except NodeRefused as refusal:
            if not any(_is(refusal, known) for known in _ACCEPTED):
                await self._refused(submission, refusal)
                return
        self._seen(submission)

    def _seen(self, submission: Submission) -> None:
        """Contested stays contested, and mined in vain stays that, until it is mined."""
        if submission.contested:
            self._set(submission, TxStatus.DOUBLE_SPEND_ATTEMPTED, submission.competing)
        elif submission.status in (TxStatus.RECEIVED, TxStatus.SEEN_IN_ORPHAN_MEMPOOL):
            self._set(submission, TxStatus.SEEN_ON_NETWORK)

    async def _refused(self, submission: Submission, refusal: NodeRefused) -> None:
        if _is(refusal, _CONFLICT):
            await self._index.sync()
            _, rivals = self._index.rivals(submission.tx.txid, submission.tx.spends)
            self._contest(submission, rivals)
        elif _is(refusal, _MISSING_INPUTS):  # its parents may come yet
            self._set(submission, TxStatus.SEEN_IN_ORPHAN_MEMPOOL)
        else:
            status = next((code for known, code in _PROBLEMS.items() if _is(refusal, known)), None)
            if status is not None:
                raise Problem(status, f"arc error {status}: {refusal.reason}", submission.tx.txid)
            self._set(submission, TxStatus.REJECTED, extra_info=refusal.reason)

    def _contest(self, submission: Submission, rivals: list[str]) -> None:
        """It and those that it competes with are contested until one of them is mined."""
        self._set(submission, TxStatus.DOUBLE_SPEND_ATTEMPTED, rivals)
        for rival in rivals:
            if known := self._by_txid.get(rival):
                competing = sorted({*known.competing, submission.tx.txid})
                self._set(known, TxStatus.DOUBLE_SPEND_ATTEMPTED, competing)

    def _set(
        self,
        submission: Submission,
        status: TxStatus,
        competing: Sequence[str] = (),
        extra_info: str = "",
    ) -> None:
        if (submission.status, submission.competing) == (status, list(competing)):
            return
        submission.status, submission.competing = status, list(competing)
        submission.extra_info, submission.timestamp = extra_info, now()
        self._told(submission)
        self._changed.set()
        self._changed = asyncio.Event()


def _is(refusal: NodeRefused, known: tuple[int, str]) -> bool:
    return refusal.code == known[0] and refusal.reason.startswith(known[1])
