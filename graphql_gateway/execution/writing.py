"""Python source of a plan while it is written: its functions, and names for what they use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Source:
    """Of one function, `plan(calls, info, root, arguments)`, and the functions inside it."""

    def __init__(self, **used: Any) -> None:
        """`used`: what is known to it from the start, by name."""
        self._globals = used
        self._lines: list[str] = []
        self._count = 0

    def new(self, prefix: str) -> str:
        """A name that nothing has."""
        self._count += 1
        return f"{prefix}{self._count}"

    def named(self, thing: Any) -> str:
        """A name for something that the source uses."""
        for name, known in self._globals.items():
            if known is thing:
                return name
        name = self.new("g")
        self._globals[name] = thing
        return name

    def function(self, name: str, parameters: str, body: list[str]) -> None:
        """A function of these lines."""
        self._lines += [f"def {name}({parameters}):", *(f" {line}" for line in body)]

    def table(self, entries: list[str]) -> str:
        """The name of a dictionary of these entries."""
        name = self.new("u")
        self._lines.append(f"{name} = {{{', '.join(entries)}}}")
        return name

    def compiled(self, result: str, arguments: int) -> tuple[str, Callable[..., Any]]:
        """Text and function that give `result`; `arguments` of fields are known as a0, a1 and so on."""
        head = ["def plan(calls, info, root, arguments):", " ask, start = calls.ask, calls.start"]
        if arguments:
            names = "".join(f"a{number}, " for number in range(arguments))
            head.append(f" {names}= arguments")
        text = "\n".join([*head, *(f" {line}" for line in self._lines), f" return {result}", ""])
        # All of it is ours: what is the document's are GraphQL names, quoted.
        exec(compile(text, "<plan>", "exec"), self._globals)  # noqa: S102 - as above
        return text, self._globals["plan"]
