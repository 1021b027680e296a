"""ARC, a transaction processor of miners: sends, and says how a transaction stands.

https://bitcoin-sv.github.io/arc: POST /v1/tx, GET /v1/tx/{txid}, GET /v1/policy. Transactions go in extended
format (BRC-30) where all spent outputs are known, or ARC looks them up. A status is a word of ARC's: only
a block's proof, read elsewhere, makes a transaction mined, and nothing here is final.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from services.chain.adapters.http import Answer, HttpSource
from services.chain.adapters.verdicts import meaning
from services.chain.app.ports import Broadcast, Sent
from services.chain.domain.failures import NodeUnavailable, SourceLies
from services.chain.domain.values import Txid
from services.chain.domain.wire import Output, extended, txid_of

WAIT_S = 5
SATS_PER_POLICY_MAX = 1_000_000_000

STATUSES: Mapping[str, Broadcast] = {
    "SEEN_ON_NETWORK": Broadcast.ACCEPTED,
    "MINED": Broadcast.ACCEPTED,
    "DOUBLE_SPEND_ATTEMPTED": Broadcast.CONTESTED,
}
"""What a status stands for. All others are unknown: on its way, an orphan, or mined in a stale block."""
PROBLEMS: Mapping[int, Broadcast] = {
    461: Broadcast.REJECTED,  # an unlocking script fails
    463: Broadcast.REJECTED,  # malformed
    464: Broadcast.REFUSED,  # outputs
    465: Broadcast.REFUSED,  # the fee
    466: Broadcast.CONTESTED,
    473: Broadcast.REFUSED,  # the fee with that of its ancestors
}


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TxReply(_Shape):
    """The status of a transaction."""

    txid: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    status: Annotated[str, Field(alias="txStatus", min_length=1, max_length=60)]
    info: Annotated[str | None, Field(alias="extraInfo")] = None


class Problem(_Shape):
    """An error as ARC describes it (RFC 9457)."""

    status: int
    title: str = ""
    detail: str = ""
    info: Annotated[str | None, Field(alias="extraInfo")] = None


class MiningFee(_Shape):
    """So many satoshis for so many bytes."""

    satoshis: Annotated[int, Field(ge=0, le=SATS_PER_POLICY_MAX)]
    size: Annotated[int, Field(alias="bytes", ge=1, le=SATS_PER_POLICY_MAX)]


class _Policy(_Shape):
    fee: Annotated[MiningFee, Field(alias="miningFee")]


class PolicyReply(_Shape):
    """GET /v1/policy."""

    policy: _Policy


_REPLY, _PROBLEM, _POLICY = TypeAdapter(TxReply), TypeAdapter(Problem), TypeAdapter(PolicyReply)


class Arc:
    """`Broadcaster` over ARC, and `FeeQuotes`. `callback` are the headers that ask for callbacks."""

    def __init__(self, source: HttpSource, callback: Mapping[str, str], wait_s: int = WAIT_S) -> None:
        self._source = source
        self._headers = {
            **callback,
            "X-WaitFor": "SEEN_ON_NETWORK",
            "X-MaxTimeout": str(wait_s),
        }

    async def send(self, raw: bytes, spent: Sequence[Output]) -> Sent:
        """Sends a transaction, and waits a little for the network to have it."""
        body = {"rawTx": (extended(raw, spent) if spent else raw).hex()}
        try:
            answer = await self._source.send("/v1/tx", body, self._headers)
            return _sent(answer, txid_of(raw))
        except NodeUnavailable as problem:
            return Sent(Broadcast.UNKNOWN, problem.message)

    async def ask(self, txid: Txid) -> Sent:
        """What it knows of a transaction that was sent."""
        try:
            answer = await self._source.get(f"/v1/tx/{txid}")
            if answer.status == 404:
                return Sent(Broadcast.UNKNOWN, "it does not know the transaction")
            return _sent(answer, txid)
        except NodeUnavailable as problem:
            return Sent(Broadcast.UNKNOWN, problem.message)

    async def sats_per_kb(self) -> int:
        """The lowest fee that is mined, for 1,000 bytes, rounded up. Raises NodeUnavailable."""
        answer = await self._source.get("/v1/policy")
        if answer.status != 200:
            raise NodeUnavailable("ARC has no policy")
        fee = answer.read(_POLICY).policy.fee
        return -(-fee.satoshis * 1000 // fee.size)


def _sent(answer: Answer, txid: Txid) -> Sent:
    if answer.status not in (200, 201):
        return _refused(answer)
    reply = answer.read(_REPLY)
    if reply.txid != txid:
        raise SourceLies(f"ARC speaks of {reply.txid} when asked about {txid}")
    words = f"{reply.status} {reply.info or ''}".strip()
    if reply.status == "REJECTED":
        return Sent(meaning(reply.info or ""), words)
    return Sent(STATUSES.get(reply.status, Broadcast.UNKNOWN), words)


def _refused(answer: Answer) -> Sent:
    problem = answer.read(_PROBLEM)
    words = f"{problem.status} {problem.title}: {problem.info or problem.detail}"
    # The status line and the body must say the same.
    known = PROBLEMS.get(answer.status) if problem.status == answer.status else None
    return Sent(known or meaning(problem.info or ""), words[:200])
