"""PostgreSQL as the ledger: a private cluster in a temporary folder, under pgbench.

A transfer is `BEGIN; two guarded UPDATEs; two INSERTs; COMMIT`, prepared, from several connections over a
Unix socket, with fsync and synchronous_commit on. Its client is a C program without TLS: to its favour.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.ledger.load import Sample
from sandbox.process import SandboxFailure, free_port

ABSENT = "skipped: PostgreSQL is not installed"
DEBIAN_HOME = Path("/usr/lib/postgresql")
# It refuses to run as root.
UNPRIVILEGED = ("postgres", "nobody")
COMMAND_S_MAX = 120
DATABASE = "postgres"

_SCHEMA = """
CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE transfers (
    id uuid PRIMARY KEY, debit bigint NOT NULL, credit bigint NOT NULL, amount bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE postings (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, transfer uuid NOT NULL, account bigint NOT NULL,
    amount bigint NOT NULL
);
INSERT INTO accounts SELECT number, 1000000000 FROM generate_series(1, {users}) AS number;
"""

# Lower numbers pay higher ones: without an order of locks there would be deadlocks.
# `\\gset` fails when a guard lets no row through.
_TRANSFER = """
\\set debit random(1, {users} - 1)
\\set credit random(:debit + 1, {users})
BEGIN;
UPDATE accounts SET balance = balance - 1
    WHERE id = :debit AND balance >= 1
    RETURNING gen_random_uuid() AS transfer \\gset
UPDATE accounts SET balance = balance + 1
    WHERE id = :credit AND balance < 9223372036854775807
    RETURNING balance AS credited \\gset
INSERT INTO transfers (id, debit, credit, amount) VALUES (:transfer, :debit, :credit, 1);
INSERT INTO postings (transfer, account, amount) VALUES (:transfer, :debit, -1), (:transfer, :credit, 1);
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running cluster."""

    programs: Path
    folder: Path
    port: int
    user: str | None

    def run(self, program: str, *arguments: str) -> str:
        """What a program of PostgreSQL prints. Raises SandboxFailure."""
        done = subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.folder,
            env={**os.environ, "PGHOST": str(self.folder), "PGPORT": str(self.port), "PGDATABASE": DATABASE},
            user=self.user,
            group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S_MAX,
        )
        if done.returncode:
            raise SandboxFailure(f"{program} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def cpu_s(self) -> float:
        """CPU time of the server and all its processes, ended ones included."""
        root = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        while True:
            try:
                living = [child.cpu_times() for child in root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue  # a connection's process has just ended: its time is the root's then
            times = root.cpu_times()
            ended_s = times.children_user + times.children_system
            return times.user + times.system + ended_s + sum(one.user + one.system for one in living)


async def postgres_samples(users: int, clients: tuple[int, ...], seconds: int) -> dict[int, Sample] | None:
    """Transfers by the number of connections; None where PostgreSQL is not installed."""
    programs = _programs()
    return None if programs is None else await asyncio.to_thread(_measured, programs, users, clients, seconds)


def _programs() -> Path | None:
    """The newest of Debian's, or what stands on the path."""
    versions = sorted(DEBIAN_HOME.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which("initdb")
    return None if found is None else Path(found).parent


def _measured(programs: Path, users: int, clients: tuple[int, ...], seconds: int) -> dict[int, Sample]:
    with _cluster(programs) as postgres:
        postgres.run("psql", "--no-psqlrc", "--quiet", "--command", _SCHEMA.format(users=users))
        postgres.run("psql", "--no-psqlrc", "--quiet", "--command", "VACUUM ANALYZE")
        script = postgres.folder / "transfer.sql"
        script.write_text(_TRANSFER.format(users=users))
        return {count: _load(postgres, script, count, seconds) for count in clients}


@contextmanager
def _cluster(programs: Path) -> Iterator[Postgres]:
    user = _unprivileged() if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="satreel-pg-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        postgres = Postgres(programs, folder, free_port(), user)
        postgres.run("initdb", "--pgdata", "data", "--auth", "trust", "--username", DATABASE, "--no-sync")
        options = (
            f"-c listen_addresses='' -k {folder} -p {postgres.port} -c fsync=on -c synchronous_commit=on"
        )
        postgres.run("pg_ctl", "start", "-w", "-D", "data", "-l", "server.log", "-o", options)
        try:
            yield postgres
        finally:
            postgres.run("pg_ctl", "stop", "-w", "-m", "fast", "-D", "data")


def _unprivileged() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in UNPRIVILEGED if name in known)


def _load(postgres: Postgres, script: Path, clients: int, seconds: int) -> Sample:
    cpu_s = postgres.cpu_s()
    told = postgres.run(
        "pgbench", "--no-vacuum", "--username", DATABASE, "--protocol", "prepared", "--file", str(script),
        "--client", str(clients), "--jobs", "1", "--time", str(seconds),
        "--log", "--log-prefix", f"c{clients}",
    )  # fmt: skip
    sample = Sample(server_cpu_s=postgres.cpu_s() - cpu_s)
    for log in postgres.folder.glob(f"c{clients}.*"):
        # client, transaction, microseconds, …
        sample.latencies_ms += [int(line.split()[2]) / 1e3 for line in log.read_text().splitlines()]
    sample.operations = len(sample.latencies_ms)
    sample.seconds = sample.operations / float(told.partition("tps = ")[2].split()[0])
    return sample
