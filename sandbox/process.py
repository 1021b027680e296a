"""Child processes of the sandbox, each with its own log and ports: tied to their parent, ended in steps."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import json
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox import tether

LOOPBACK = "127.0.0.1"
TERM_WAIT_S = 30.0
KILL_WAIT_S = 20.0
LOG_TAIL_BYTES = 20_000
LOG_TAIL_LINES = 12

# Below those that the system gives to outgoing connections, which would take a port before its owner listens.
_PORTS = range(10_000, 20_000)
_PORTS_IN_ROWS = range(20_000, 32_000)
_PORT_TRIES = 1_000
_given: set[int] = set()


class SandboxFailure(Exception):  # noqa: N818 - said to a person, as it stands
    """Something in the outside world cannot be had; the text says what, and which setting helps."""


class PortTaken(SandboxFailure):
    """A port that a part needs is in use."""

    def __init__(self, part: str, port: int, setting: str) -> None:
        super().__init__(
            f"{part} needs port {port} on {LOOPBACK}, and something else is listening there. "
            f"Stop that program, or choose another port with {setting}."
        )
        self.port = port


class StartFailed(SandboxFailure):
    """A part ended, or stayed silent, instead of getting ready."""


def free_port() -> int:
    """A loopback TCP port that nobody holds, and that nobody is given again before this process ends."""
    return _free_row(1, _PORTS)


def free_ports(size: int) -> int:
    """The first of `size` such ports in a row."""
    return _free_row(size, _PORTS_IN_ROWS)


def _free_row(size: int, among: range) -> int:
    for _ in range(_PORT_TRIES):
        first = random.SystemRandom().choice(among[: len(among) - size])
        row = range(first, first + size)
        if _given.isdisjoint(row) and all(map(_is_free, row)) and _marked(row):
            _given.update(row)
            return first
    raise RuntimeError(f"no {size} ports in a row were found free among {among}")


def _is_free(port: int) -> bool:
    try:
        require_free_port(port, part="", setting="")
    except PortTaken:
        return False
    return True


def _marked(row: range) -> bool:
    """Whether these ports are this process's from now on, and were no other's who may not listen yet."""
    try:
        fcntl.lockf(_port_marks(), fcntl.LOCK_EX | fcntl.LOCK_NB, len(row), row.start)
    except (BlockingIOError, PermissionError):
        return False
    return True


@functools.cache
def _port_marks() -> int:
    """A file of which each byte stands for a port: who was given the port has it locked. Never closed."""
    path = Path(tempfile.gettempdir()) / f"satreel-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def require_free_port(port: int, *, part: str, setting: str) -> None:
    """Raise PortTaken when `port` is in use; its message names `part`, who needs it, and `setting`."""
    with socket.socket() as probe:
        # As servers do: connections in TIME_WAIT are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortTaken(part, port, setting) from error


@contextlib.contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Holds the folder within the block; it is free when the process dies. Raises SandboxFailure."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxFailure(
                f"Another run uses this folder: {folder}. Stop it, or choose another with SATREEL_DATA_DIR."
            ) from None
        yield


def readable(line: str) -> str:
    """A line of a service's log (JSON) as a person reads it; any other line as it is."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "event" not in entry:
        return line
    said = {name: value for name, value in entry.items() if name not in _UNTOLD}
    details = " ".join(f"{name}={value}" for name, value in said.items())
    traceback = f"\n{entry['exception']}" if "exception" in entry else ""
    when = str(entry.get("timestamp", ""))[11:19]
    return f"{when} {entry.get('level', '')} {entry['event']} {details}".strip() + traceback


_UNTOLD = {"event", "level", "timestamp", "logger", "service", "exception", "trace_id", "span_id"}


@dataclass(frozen=True, slots=True)
class Child:
    """A running process that this one started."""

    name: str
    process: asyncio.subprocess.Process
    log_path: Path

    @property
    def pid(self) -> int:
        """Of the program itself: the tether has become it."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self.process.returncode

    async def ended_within(self, seconds: float) -> bool:
        """Whether it has ended by then; it is not touched."""
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def stop(self, term_wait_s: float = TERM_WAIT_S) -> None:
        """SIGTERM, then SIGKILL to what does not listen. Returns when it has ended; harmless when it had."""
        for signal_number, wait_s in ((signal.SIGTERM, term_wait_s), (signal.SIGKILL, KILL_WAIT_S)):
            if self.exit_code is None:
                with contextlib.suppress(ProcessLookupError):
                    self.process.send_signal(signal_number)
            if await self.ended_within(wait_s):
                return
        raise SandboxFailure(f"{self.name} (pid {self.pid}) does not end, not even by SIGKILL")

    def log_tail(self) -> str:
        """The last lines it wrote, for messages about why it did not start."""
        try:
            written = self.log_path.read_bytes()
        except FileNotFoundError:
            return ""
        lines = written[-LOG_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
        whole = lines[1:] if len(written) > LOG_TAIL_BYTES else lines
        return "\n".join(readable(line) for line in whole[-LOG_TAIL_LINES:])


async def start_child(
    name: str,
    argv: Sequence[str | Path],
    *,
    log_path: Path,
    env: Mapping[str, str] | None = None,
    at_parent_death: signal.Signals = signal.SIGTERM,
) -> Child:
    """Start `argv` (its first item a full path) with output appended to `log_path`.

    It has a session of its own, so that Ctrl-C reaches only the launcher, which then stops its children in
    order; and it gets `at_parent_death` should this process die. `env` replaces the environment when given.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(at_parent_death))]
    with log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *tethered,
            *(str(part) for part in argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    return Child(name, process, log_path)


def stop_signal() -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT; from now on neither ends the process by itself."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, asked.set)
    return asked
