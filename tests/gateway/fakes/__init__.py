"""Simple services behind a real server of the mesh: they keep what tests give them, and remember calls."""

from tests.gateway.fakes.base import AT, NOBODY, Call, Feed, Log, NotYours, missing
from tests.gateway.fakes.chain import FakeChain
from tests.gateway.fakes.content import FILM, PIECE_BYTES, POSTER, FakeContent, FileForbidden, RangeInvalid
from tests.gateway.fakes.identity import FakeIdentity, SessionInvalid, session_of
from tests.gateway.fakes.insight import FakeInsight
from tests.gateway.fakes.ledger import FakeLedger, IdReused
from tests.gateway.fakes.market import FakeMarket, InsufficientFunds
from tests.gateway.fakes.rounds import FakeRounds

__all__ = [
    "AT",
    "FILM",
    "NOBODY",
    "PIECE_BYTES",
    "POSTER",
    "Call",
    "FakeChain",
    "FakeContent",
    "FakeIdentity",
    "FakeInsight",
    "FakeLedger",
    "FakeMarket",
    "FakeRounds",
    "Feed",
    "FileForbidden",
    "IdReused",
    "InsufficientFunds",
    "Log",
    "NotYours",
    "RangeInvalid",
    "SessionInvalid",
    "missing",
    "session_of",
]
