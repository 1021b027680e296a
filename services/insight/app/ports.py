"""What the use cases need of the world."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from typing import Protocol

from services.insight.domain.facts import Batch
from services.insight.domain.series import Chunk


@dataclass(frozen=True, slots=True)
class Heard:
    """What a stream said: facts, a heartbeat (none), or a fresh start after events that were lost."""

    cursor: str
    batches: tuple[Batch, ...] = ()
    fresh_start: bool = False


class Source(Protocol):
    """The events of another service, as facts. Raises RemoteFailure."""

    @property
    def name(self) -> str:
        """The service's, first part of the ids of its facts."""
        ...

    def watch(self, cursor: str) -> AsyncGenerator[Heard, None]:
        """Events from the cursor on."""
        ...

    async def backfill(self) -> AsyncGenerator[list[Batch], None]:
        """After a gap: what can still be read of what happened, newest first; nothing where nothing can."""
        ...
        yield []


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a stream is resumed, and until when everything of it was heard."""

    cursor: str = ""
    heard_ns: int = 0


class Facts(Protocol):
    """Facts, the chunks counted from them, and cursors. Raises the store's errors."""

    async def create(self, batch: Batch) -> bool:
        """Keeps a batch; False when it was kept before."""
        ...

    async def in_chunk(self, number: int) -> list[Batch]:
        """All batches of a chunk, in no order."""
        ...

    async def chunks(self, numbers: Collection[int]) -> dict[int, Chunk]:
        """Counted chunks that still hold."""
        ...

    async def keep_chunk(self, chunk: Chunk) -> bool:
        """Keeps a counted chunk; False when it is not certain that it is kept."""
        ...

    async def drop_chunk(self, number: int) -> None:
        """A counted chunk holds no more."""
        ...

    async def began(self) -> int | None:
        """The first chunk that has facts; None when there are none."""
        ...

    async def keep_began(self, number: int) -> None:
        """Keeps the first chunk that has facts."""
        ...

    async def resume(self, name: str) -> Resume:
        """Where a stream is resumed."""
        ...

    async def keep_resume(self, name: str, resume: Resume) -> None:
        """Keeps where a stream is resumed."""
        ...
