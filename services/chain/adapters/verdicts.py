"""What the words of a node mean for a transaction; the services in front of one pass them on as they are."""

from __future__ import annotations

import re

from services.chain.app.ports import Broadcast

# Reject codes (16: invalid, 64: nonstandard, 66: fee, 257: known, 258: conflict) and texts of the node's
# validation.cpp. All others are taken as unknown.
_MEANINGS = {
    Broadcast.ACCEPTED: ("257:", "txn-already-known", "transaction already in "),
    Broadcast.CONTESTED: ("258:", "txn-mempool-conflict", "txn-double-spend-detected"),
    Broadcast.REJECTED: ("16:", "mandatory-script-verify-flag-failed", "tx decode failed"),
    Broadcast.REFUSED: ("64: dust", "64: scriptpubkey", "66:"),
}
_FRONT = re.compile(r"^(unexpected response code \d{3}:)?\s*(-\d+:?)?\s*", re.IGNORECASE)


def meaning(words: str) -> Broadcast:
    """The outcome that a node's words stand for, with what a service in front of it puts before them."""
    text = _FRONT.sub("", words.strip().strip('"')).lower()
    for outcome, beginnings in _MEANINGS.items():
        if text.startswith(beginnings):
            return outcome
    return Broadcast.UNKNOWN
