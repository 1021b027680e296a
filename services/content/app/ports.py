"""What the use cases need of the world. Each port is small; the adapters say how."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from services.content.domain.films import FilmFacts
from services.content.domain.looks import Look
from services.content.domain.memes import Meme, MemeState, Stage
from services.content.domain.pictures import Inspection
from services.content.domain.values import InstantNs, MemeId, Sha256, UserId


@dataclass(frozen=True, slots=True)
class Kept:
    """A meme as it was read, and the generation to fence a change of it with."""

    meme: Meme
    generation: int


class Memes(Protocol):
    """The records of memes: the truth about them. Failures are those of mesh.records."""

    async def get(self, meme_id: MemeId) -> Kept | None:
        """The meme, or None."""
        ...

    async def get_many(self, meme_ids: Sequence[MemeId]) -> dict[MemeId, Meme]:
        """Those that exist of at most 1,000."""
        ...

    async def create(self, meme: Meme) -> int:
        """Writes a new meme; its generation. Raises Exists."""
        ...

    async def put(self, meme: Meme, generation: int) -> int:
        """Replaces a meme that still has this generation; the new one. Raises Stale."""
        ...

    def unfinished(self) -> AsyncIterator[Kept]:
        """All memes with a task."""
        ...

    async def page(
        self, *, state: MemeState | None, creator_id: UserId | None, after: str, limit: int
    ) -> tuple[list[Meme], str]:
        """Newest upload first, from behind `after` on; and where the next page starts, "" at the end."""
        ...


class Shelf(Protocol):
    """Published memes in the order of publication. Derived: whoever reads it checks against the meme."""

    async def add(self, meme: Meme) -> None:
        """Puts a meme on it by its `published_ns`. May be repeated."""
        ...

    async def remove(self, meme: Meme) -> None:
        """Takes it off. May be repeated."""
        ...

    async def page(self, *, creator_id: UserId | None, after: str, limit: int) -> tuple[list[Meme], str]:
        """Oldest publication first, from behind `after` on; and where the next page starts, "" at the end."""
        ...


class ClaimState(StrEnum):
    """How far an upload is with its claim on a look.

    CLAIMED: others are being looked for, and may beat it. SETTLED: it is the only one, its meme is being
    written. BOUND: its meme stands. RELEASED: its meme was rejected, the picture may be uploaded again.
    FREE: the upload came to nothing.
    """

    CLAIMED = "claimed"
    SETTLED = "settled"
    BOUND = "bound"
    RELEASED = "released"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class Claim:
    """One upload's claim on how its picture looks. `token` names the attempt, `beaten_by` who was first."""

    meme_id: MemeId
    look: Look
    sha256: Sha256
    state: ClaimState
    token: str
    at_ns: InstantNs
    beaten_by: str = ""


class Claims(Protocol):
    """The records of claims, by meme, with an index by sha256 and by the bands of the look."""

    async def get(self, meme_id: MemeId) -> tuple[Claim, int] | None:
        """The claim and its generation, or None."""
        ...

    async def create(self, claim: Claim) -> int:
        """Writes a new claim; its generation. Raises Exists."""
        ...

    async def put(self, claim: Claim, generation: int) -> int:
        """Replaces a claim that still has this generation; the new one. Raises Stale."""
        ...

    async def near(self, look: Look, sha256: Sha256) -> dict[MemeId, tuple[Claim, int]]:
        """All claims that share the bytes or a band of the look, in any state."""
        ...

    def pending(self) -> AsyncIterator[tuple[Claim, int]]:
        """All claims that are CLAIMED or SETTLED."""
        ...


@dataclass(frozen=True, slots=True)
class Received:
    """An upload in a temporary file of ours."""

    path: Path
    size_bytes: int
    sha256: Sha256


class Incoming(Protocol):
    """Temporary files: each is gone when its block ends."""

    def receive(self, chunks: AsyncIterator[bytes], bytes_max: int) -> AbstractAsyncContextManager[Received]:
        """Takes in a stream. Raises FileTooLarge as soon as it is."""
        ...

    def room(self) -> AbstractAsyncContextManager[Path]:
        """A folder for work on files."""
        ...

    async def digest(self, path: Path) -> tuple[Sha256, int]:
        """The sha256 of a file in a room, and its bytes."""
        ...


class Files(Protocol):
    """Where files stay, by what they are for and the sha256 of their content. Raises FilesUnavailable."""

    async def put(self, kind: str, sha256: Sha256, path: Path) -> None:
        """Stores a file. May be repeated."""
        ...

    async def fetch(self, kind: str, sha256: Sha256, path: Path) -> None:
        """Copies a stored file to `path`. Raises FileNotFound."""
        ...

    def read(self, kind: str, sha256: Sha256, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`, in pieces. Raises FileNotFound."""
        ...

    async def delete(self, kind: str, sha256: Sha256) -> None:
        """Removes a file, if there is one."""
        ...


class Workshop(Protocol):
    """Processes of their own that decode what comes from strangers. Raises WorkshopUnavailable."""

    async def inspect_picture(self, path: Path) -> Inspection:
        """Decodes a picture whole. Raises what PICTURE_REFUSALS lists."""
        ...

    async def measure_film(self, path: Path, poster: Path) -> FilmFacts:
        """Decodes a film whole; writes its poster when it is good."""
        ...


@dataclass(frozen=True, slots=True)
class RenderPending:
    """The job is not done."""


@dataclass(frozen=True, slots=True)
class RenderFailed:
    """AITubo gave the job up."""

    why: str


@dataclass(frozen=True, slots=True)
class RenderDone:
    """The film can be fetched."""

    url: str


class Renderer(Protocol):
    """AITubo. Every method raises the failures of `app.rendering`."""

    async def order(self, meme: Meme) -> str:
        """Orders a film; the job's secret name."""
        ...

    async def look(self, job: str) -> RenderPending | RenderFailed | RenderDone:
        """How the job is."""
        ...

    async def download(self, url: str, path: Path) -> Received:
        """Fetches the film."""
        ...


class Creators(Protocol):
    """Identity, as content sees it."""

    async def exists(self, user_id: UserId) -> bool:
        """Whether there is such a user."""
        ...


class Titles(Protocol):
    """Ledger and chain, as content sees them."""

    async def issue(self, meme: Meme) -> None:
        """Makes the creator the first owner in the ledger. May be repeated."""
        ...

    async def inscribe(self, meme: Meme, film: Sha256, poster: bytes) -> None:
        """Has the title written on chain. May be repeated."""
        ...


class Queue(Protocol):
    """Background work waiting for a worker. May lose everything: the records know what is unfinished."""

    async def enqueue(self, meme_id: MemeId, generation: int, due_ns: InstantNs) -> None:
        """Has the meme worked on when due, once per generation. Never fails; what is lost is found again."""
        ...


class News(Protocol):
    """The feed of content."""

    def tell(self, meme: Meme, stage: Stage) -> None:
        """Publishes what happened. Never waits, never fails."""
        ...
