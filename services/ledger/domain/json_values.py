"""JSON that a stranger may have written, read with checks that say where and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

from mesh.errors import InvalidArgument

INT64_MAX = 2**63 - 1
TEXT_MAX = 128
ITEMS_MAX = 100_000
_SHOWN_MAX = 40

Chosen = TypeVar("Chosen")


class RecordInvalid(InvalidArgument):
    """This is no public record of a round."""

    reason = "RECORD_INVALID"


@dataclass(frozen=True, slots=True)
class Checked:
    """A value and where it stands. Its methods raise RecordInvalid when it is not what is asked for."""

    where: str
    value: object

    def get(self, key: str) -> Checked:
        """The value of a key that an object must have."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        if key not in self.value:
            raise RecordInvalid(f"{self._at(key)}: missing")
        return Checked(self._at(key), self.value[key])

    def only(self, *keys: str) -> Self:
        """The object itself, which has no other keys."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        for key in self.value:
            if key not in keys:
                raise RecordInvalid(f"{self._at(key[:_SHOWN_MAX])}: unknown")
        return self

    def items(self, most: int = ITEMS_MAX) -> list[Checked]:
        """The items of a list."""
        if not isinstance(self.value, list) or len(self.value) > most:
            raise self.wrong(f"a list of at most {most}")
        return [Checked(f"{self.where}[{place}]", item) for place, item in enumerate(self.value)]

    def row(self, length: int) -> list[Checked]:
        """The items of a list of this length."""
        if not isinstance(self.value, list) or len(self.value) != length:
            raise self.wrong(f"a list of {length}")
        return self.items()

    def whole(self, most: int = INT64_MAX) -> int:
        """A whole number from 0 on."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not 0 <= self.value <= most:
            raise self.wrong(f"a whole number from 0 to {most}")
        return self.value

    def text(self) -> str:
        """A short text that may be shown as it is."""
        if (
            not isinstance(self.value, str)
            or not 0 < len(self.value) <= TEXT_MAX
            or not self.value.isprintable()
        ):
            raise self.wrong(f"a text of 1 to {TEXT_MAX} printable characters")
        return self.value

    def one_of(self, choices: Mapping[str, Chosen]) -> Chosen:
        """What a name stands for."""
        if not isinstance(self.value, str) or self.value not in choices:
            raise self.wrong(f"one of {', '.join(choices)}")
        return choices[self.value]

    def instant(self) -> int:
        """Nanoseconds since 1970, written as text."""
        text = self.value
        if not isinstance(text, str) or not (text.isascii() and text.isdecimal()) or len(text) > 19:
            raise self.wrong("nanoseconds as decimal text")
        return Checked(self.where, int(text)).whole()

    def instant_or_none(self) -> int:
        """The same, or 0 for null."""
        return 0 if self.value is None else self.instant()

    def wrong(self, expected: str) -> RecordInvalid:
        """What to raise."""
        return RecordInvalid(f"{self.where or 'the record'}: must be {expected}, is {_shown(self.value)}")

    def _at(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key


def read_object(data: bytes) -> Checked:
    """A JSON object. Raises RecordInvalid."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except RecursionError:
        raise RecordInvalid("the record is nested too deeply") from None
    except ValueError as problem:
        raise RecordInvalid(f"the record is no JSON: {problem}") from None
    if not isinstance(value, dict):
        raise RecordInvalid("the record must be a JSON object")
    return Checked("", value)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no number")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
