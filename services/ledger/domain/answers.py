"""What was answered to each transfer id: the same id and body get the first answer, another body an error."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from services.ledger.domain.commands import TransferKind, TransferLike
from services.ledger.domain.reasons import Reason
from services.ledger.domain.window import SPAN_DIGITS, Window

BODY_BYTES = 16
_POST = int(TransferKind.POST)


class Result(NamedTuple):
    """How one transfer ended."""

    reason: Reason
    detail: str


class Refused(NamedTuple):
    """First answer to an id that was refused, and the body of what was asked."""

    body: bytes
    result: Result


APPLIED = Result(Reason.OK, "")
REUSED = Result(Reason.ID_REUSED, "the id was used before with another body")
OUT_OF_TIME = Result(
    Reason.ID_OUT_OF_TIME, "the time in the id is not between the horizon and a day from now; take a new id"
)


# What a plain transfer is, but for its id: numbers of its accounts, below 2^31, and its amount.
plain_body = Struct(">IIq").pack


def body_hash(transfer: TransferLike) -> bytes:
    """Body of any other: a hash of it, as far as its kind looks at it. It tells a repeat from a reuse.

    Before texts stand their lengths, and the last is free: what is hashed can be read in one way only.
    """
    kind, asset = transfer.kind, transfer.asset
    debit, credit = transfer.debit_account, transfer.credit_account
    hold = f"{transfer.hold_id}|{transfer.hold_expires_s}" if kind != _POST else ""
    texts = f"{len(asset)}|{len(debit)}|{len(credit)}|{asset}|{debit}|{credit}|{transfer.memo}"
    return _hash_of(f"{kind}|{transfer.linked}|{hold}|{transfer.amount}|{texts}".encode())


def noted_body(plain: bytes, memo: str) -> bytes:
    """Body of a plain transfer with a memo."""
    return _hash_of(plain + memo.encode())


def chain_hashes(chain: Sequence[TransferLike]) -> list[bytes]:
    """A body for each of a chain: of itself and of all it is linked with, so elsewhere it is another one."""
    own = [body_hash(transfer) for transfer in chain]
    chained = _hash_of(
        b"".join(transfer.id.encode() + body for transfer, body in zip(chain, own, strict=True))
    )
    return [_hash_of(chained + body) for body in own]


def _hash_of(body: bytes) -> bytes:
    """127 bits behind a first one, which no plain body has."""
    digest = blake2b(body, digest_size=BODY_BYTES).digest()
    return bytes((digest[0] | 0x80,)) + digest[1:]


class Answers:
    """First answers by id, kept by spans of time so that old ones are forgotten a span at a time."""

    def __init__(self, window: Window) -> None:
        self.window = window
        # For an applied transfer only its body is kept: of these there are millions.
        self.by_span: dict[str, dict[str, bytes | Refused]] = {}

    def again(self, id_: str, body: bytes, plain: bytes = b"") -> Result | None:
        """The answer to an id that was answered before, or OUT_OF_TIME; None for a new one.

        `plain`: its body in the other form, in which it may have been kept as well.
        """
        span = self.by_span.get(id_[:SPAN_DIGITS])
        known = None if span is None else span.get(id_)
        if known is None:
            window = self.window
            return None if window.low <= id_ < window.high else OUT_OF_TIME
        if known.__class__ is bytes:
            return APPLIED if known in (body, plain) else REUSED
        return known.result if known.body == body else REUSED  # type: ignore[union-attr] # by its class

    def put(self, id_: str, body: bytes, result: Result) -> None:
        """Keeps the answer to a new id."""
        span = self.by_span.get(id_[:SPAN_DIGITS])
        if span is None:
            span = self.by_span[id_[:SPAN_DIGITS]] = {}
        span[id_] = body if result is APPLIED else Refused(body, result)

    def put_new(self, id_: str, body: bytes, result: Result) -> None:
        """Keeps the answer unless the id has one or is out of time."""
        if self.again(id_, body) is None:
            self.put(id_, body, result)

    def forget(self) -> None:
        """Forgets the spans behind the watermark."""
        for span in [span for span in self.by_span if span < self.window.low]:
            del self.by_span[span]
