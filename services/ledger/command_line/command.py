"""What a sub-command is: what it may use, what it answers."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from services.ledger.app.snapshotting import Stored

# Exit codes: something is not right with the books; the question could not be answered at all.
WRONG_BOOKS = 1
UNANSWERED = 2


class Unanswered(Exception):  # noqa: N818 - an answer, not a fault
    """Why a question cannot be answered, for a person."""


@dataclass(frozen=True, slots=True)
class Root:
    """What the composition root gives: it alone knows stores and settings."""

    serve: Callable[[], None]
    # Both raise Unanswered when there is no ledger, and make none.
    open: Callable[[], AbstractAsyncContextManager[Stored]]
    open_to_write: Callable[[], AbstractAsyncContextManager[Stored]]
    # Where they look, for a person.
    place: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command. The docstring of `run`, which returns the exit code, is its description."""

    name: str
    about: str
    run: Callable[[Root, Namespace], int]
    arguments: Callable[[ArgumentParser], None] = lambda _: None
    # Whether its `--help` lists all settings, rather than what tells it where the ledger is.
    shows_settings: bool = False
