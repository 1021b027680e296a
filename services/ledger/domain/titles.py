"""Who made a meme, who owns it, and since when."""

from __future__ import annotations

from dataclasses import dataclass

from services.ledger.domain.books import MINT, TITLE_PREFIX, Books, derived_id, user_account
from services.ledger.domain.reasons import Reason, Refused


@dataclass(frozen=True, slots=True)
class Title:
    """The ownership title of a meme."""

    meme_id: str
    owner_id: str
    creator_id: str
    since_ns: int


class Titles:
    """All titles: an index over the accounts that hold them."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self.by_meme: dict[str, Title] = {}
        self.by_owner: dict[str, set[str]] = {}
        # Titles issued or moved since the last commit.
        self.changed: dict[str, Title] = {}

    def issue(self, meme_id: str, creator_id: str) -> Title:
        """Makes a title; its creator is the first owner. A repeat answers the title as it stands."""
        title = self.by_meme.get(meme_id)
        if title is not None:
            if title.creator_id != creator_id:
                raise Refused(Reason.TITLE_ALREADY_ISSUED, "the meme's title has another creator")
            return title
        asset = TITLE_PREFIX + meme_id
        mint, owner = self._books.number(MINT, asset), self._books.number(user_account(creator_id), asset)
        self._books.post(derived_id(f"issue:{meme_id}"), mint, owner, 1, f"issue:{meme_id}")
        return self._put(Title(meme_id, creator_id, creator_id, self._books.now_ns))

    def get(self, meme_id: str) -> Title:
        """The title. Raises TITLE_NOT_FOUND."""
        title = self.by_meme.get(meme_id)
        if title is None:
            raise Refused(Reason.TITLE_NOT_FOUND, "nobody issued a title for this meme", meme_id=meme_id)
        return title

    def moved(self, meme_id: str, owner_id: str) -> Title:
        """Notes that the title's account has moved to a new owner."""
        old = self.by_meme[meme_id]
        self.by_owner[old.owner_id].discard(meme_id)
        return self._put(Title(meme_id, owner_id, old.creator_id, self._books.now_ns))

    def _put(self, title: Title) -> Title:
        self.by_meme[title.meme_id] = self.changed[title.meme_id] = title
        self.by_owner.setdefault(title.owner_id, set()).add(title.meme_id)
        return title
