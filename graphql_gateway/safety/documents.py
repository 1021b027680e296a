"""Documents that requests name instead of sending them: trusted ones, and automatic persisted queries.

Trusted documents come from the manifests that front ends' builds write. Automatic persisted queries are
Apollo's protocol: a client sends the SHA-256 of a document, and the document itself once it hears
PERSISTED_QUERY_NOT_FOUND; it is then known to all gateways for a while.

https://www.apollographql.com/docs/apollo-server/performance/apq
https://github.com/graphql/graphql-over-http (appendix on persisted documents)
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.errors import InvalidArgument, PermissionDenied

# Of all texts that are remembered here.
CHARS_MAX = 2_000_000
# A longer one is carried out, not kept: anybody may send as many as are kept, into a Redis that all share.
PERSISTED_CHARS_MAX = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
# The prefix of `documentId` that says what the rest is.
_PREFIX = "sha256:"


# Clients compare the messages of these two.
class PersistedQueryNotFound(InvalidArgument):
    """PersistedQueryNotFound"""

    reason = "PERSISTED_QUERY_NOT_FOUND"


class PersistedQueryNotSupported(InvalidArgument):
    """PersistedQueryNotSupported"""

    reason = "PERSISTED_QUERY_NOT_SUPPORTED"


class BadPersistedQuery(InvalidArgument):
    """`extensions.persistedQuery` must have `version` 1 and the document's `sha256Hash`, lower case hex."""

    reason = "BAD_PERSISTED_QUERY"


class DocumentNotTrusted(PermissionDenied):
    """Only documents of the front ends' manifests are carried out here."""

    reason = "DOCUMENT_NOT_TRUSTED"


@dataclass(frozen=True, slots=True)
class Named:
    """How a request says which document it means: its text, a hash by Apollo's protocol, an id."""

    text: str
    sha256: str | None = None
    document_id: str | None = None

    @classmethod
    def by(cls, text: str, document_id: str | None, extensions: Mapping[str, Any] | None) -> Named:
        """Raises BadPersistedQuery, PersistedQueryNotSupported."""
        told = (extensions or {}).get("persistedQuery")
        if told is None:
            return cls(text, None, document_id)
        if not isinstance(told, dict):
            raise BadPersistedQuery
        if told.get("version") != 1:
            raise PersistedQueryNotSupported
        sha256 = told.get("sha256Hash")
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise BadPersistedQuery
        return cls(text, sha256, document_id)

    @property
    def is_text_only(self) -> bool:
        """Whether nothing but the text names it."""
        return self.sha256 is None and self.document_id is None


class Store(Protocol):
    """Where automatic persisted queries are for all gateways."""

    async def get(self, sha256: str) -> str | None:
        """The text; None when there is none, or nobody can tell."""

    async def put(self, sha256: str, text: str) -> None:
        """Keeps it for a while, as far as that can be done."""


class Documents:
    """Finds the text of what requests name."""

    def __init__(
        self, store: Store | None, trusted: Mapping[str, str] | None = None, *, only_trusted: bool = False
    ) -> None:
        """`trusted`: id → text. Without a `store` there are no automatic persisted queries."""
        self._store = None if only_trusted else store
        self._only_trusted = only_trusted
        self.trusted = dict(trusted or {})
        self._by_key = {**{hash_of(text): text for text in self.trusted.values()}, **self.trusted}
        self._texts = frozenset(self.trusted.values())
        self._recent = _Recent(CHARS_MAX)

    async def text_of(self, named: Named) -> str:
        """The document.

        Raises DocumentNotTrusted, PersistedQueryNotFound, PersistedQueryNotSupported, BadPersistedQuery.
        """
        if named.is_text_only:
            return self._allowed(named.text)
        key = named.sha256 or (named.document_id or "").removeprefix(_PREFIX)
        text = self._by_key.get(key)
        if text is not None:
            return text
        if self._only_trusted:
            return self._allowed(named.text)
        if named.sha256 is None and not _SHA256.fullmatch(key):
            raise PersistedQueryNotFound
        return await self._persisted(key, named.text)

    async def _persisted(self, sha256: str, text: str) -> str:
        if self._store is None:
            raise PersistedQueryNotSupported
        if text:
            if hash_of(text) != sha256:
                raise BadPersistedQuery("The document has another hash than `sha256Hash`.")
            if len(text) <= PERSISTED_CHARS_MAX and self._recent.get(sha256) is None:
                self._recent.put(sha256, text)
                await self._store.put(sha256, text)
            return text
        found = self._recent.get(sha256) or await self._store.get(sha256)
        if found is None:
            raise PersistedQueryNotFound
        self._recent.put(sha256, found)
        return found

    def _allowed(self, text: str) -> str:
        if self._only_trusted and text not in self._texts:
            raise DocumentNotTrusted
        return text


class _Recent:
    """Texts used last, as many as fit into a number of characters."""

    def __init__(self, chars_max: int) -> None:
        self._chars_max = chars_max
        self._chars = 0
        self._texts: OrderedDict[str, str] = OrderedDict()

    def get(self, sha256: str) -> str | None:
        text = self._texts.get(sha256)
        if text is not None:
            self._texts.move_to_end(sha256)
        return text

    def put(self, sha256: str, text: str) -> None:
        if sha256 in self._texts:
            return
        self._texts[sha256] = text
        self._chars += len(text)
        while self._chars > self._chars_max:
            _, gone = self._texts.popitem(last=False)
            self._chars -= len(gone)


def hash_of(text: str) -> str:
    """SHA-256 of the text in UTF-8, lower case hex. What cannot be UTF-8 has one that no client knows."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
