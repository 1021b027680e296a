"""Recovery, which is also every start: the state is what the journal's commands make of nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from services.ledger.app.journal import Entry, Head, Journal, JournalBroken
from services.ledger.domain.commands import Command
from services.ledger.domain.machine import Answer, Machine
from services.ledger.domain.reasons import Refused

# A state to begin with and the record it stands at, from where the journal is replayed.
Load = Callable[[], Awaitable[tuple[Machine, Head]]]


async def from_nothing() -> tuple[Machine, Head]:
    """The state before the first record."""
    return Machine(), Head()


def apply_all(machine: Machine, commands: Iterable[Command]) -> list[Answer | Refused]:
    """Applies commands at the machine's time. A refusal is an answer like any other."""
    answers: list[Answer | Refused] = []
    for command in commands:
        try:
            answers.append(machine.apply(command))
        except Refused as refusal:
            answers.append(refusal)
    return answers


def replay(machine: Machine, entry: Entry) -> None:
    """Applies a record. Raises JournalBroken when it ends otherwise than when it was written."""
    if entry.at_ns < machine.now_ns:
        raise JournalBroken(f"record {entry.head.sequence} goes back in time")
    machine.advance(entry.at_ns, entry.reign)
    apply_all(machine, entry.commands)
    if machine.seal() != entry.result_hash:
        raise JournalBroken(f"record {entry.head.sequence} replays to other answers")
    machine.forget_changes()


async def recover(journal: Journal, load: Load = from_nothing) -> tuple[Machine, Head]:
    """The state that the whole journal makes, and its newest record."""
    machine, head = await load()
    async for entry in journal.read(head):
        replay(machine, entry)
        head = entry.head
    return machine, head
