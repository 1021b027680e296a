"""Fixtures for everyone: a real Valkey server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from sandbox import tether
from sandbox.binaries import valkey_binary
from sandbox.process import LOOPBACK, free_port

# Where no test configures logs: the usual tracebacks show all local variables, and take seconds to be drawn.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

# What Hypothesis draws is the same in every run, and no example is too slow;
# `--hypothesis-profile=explore` draws anew.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")

# A machine that runs tests may be busy: who has much to do refuses nobody for it, in this process and in
# those that tests start, except where a test says so.
PATIENT = {"SATREEL_CALL_WAIT_MAX_S": "60"}
os.environ.update(PATIENT)

START_TIMEOUT_S = 60.0


def without_settings() -> dict[str, str]:
    """The environment of a process that a test tells all that it is told."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SATREEL_")} | PATIENT


class ValkeyServer:
    """A Valkey server on a port of its own that tests may kill and start again; it keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"

    def start(self) -> None:
        # In memory only, and it ends when the tests do, even if they are killed.
        server = [
            str(valkey_binary()),
            "--port",
            str(self.port),
            "--bind",
            LOOPBACK,
            "--dir",
            str(self._folder),
        ]
        server += ["--save", "", "--appendonly", "no", "--maxmemory", "128mb"]
        wrapper = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(signal.SIGKILL))]
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen([*wrapper, *server], stdout=log, stderr=log)
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                pytest.fail(f"Valkey did not start: {(self._folder / 'valkey.log').read_text()[-2000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey server shared by all tests of the session: use names of your own, and flush nothing."""
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        server = ValkeyServer(Path(folder))
        server.start()
        yield server.url
        server.kill()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey server for one test, to be flushed, killed and started again."""
    server = ValkeyServer(tmp_path)
    server.start()
    yield server
    server.kill()
