"""`python -m sandbox run` plays rounds until stopped; `python -m sandbox demo` plays one and checks it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from sandbox import demo, play
from sandbox.client import GraphqlError
from sandbox.launcher import House, running
from sandbox.options import read_settings
from sandbox.people import NotInTime, Person
from sandbox.process import SandboxFailure, stop_signal
from sandbox.report import Report
from sandbox.settings import REPLICATED, SandboxSettings, beside

USAGE = """usage: python -m sandbox run|demo [--help] [settings]

  run    the whole mesh and endless rounds with demo people, until Ctrl-C
  demo   one round in a mesh of its own, then a report; exit code 0 if every check holds
"""


def main() -> int:
    """Reads the command and its settings; gives the exit code."""
    command, arguments = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if command not in {"run", "demo"}:
        sys.stderr.write(USAGE)
        return 0 if command in {"-h", "--help", "help"} else 2
    try:
        settings = read_settings(SandboxSettings, arguments)
        with contextlib.suppress(KeyboardInterrupt):
            return asyncio.run(_run(settings) if command == "run" else _demo(settings))
    except (SandboxFailure, GraphqlError, NotInTime) as problem:
        sys.stderr.write(f"\n{problem}\n")
        return 1
    return 0


async def _run(settings: SandboxSettings) -> int:
    report = Report()
    seed = _seed(settings.data_dir)
    admin = Person.of("Admin", "", seed=seed)
    admin_address = admin.wallet.address
    await admin.client.close()
    report.title("Satreel starts")
    async with running(settings, admin_addresses=[admin_address], progress=report.step) as house:
        await _addresses(house, report)
        work = asyncio.create_task(play.play(house, report, seed=seed))
        stop = asyncio.create_task(stop_signal().wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stopped = stop.done()
        for task in (work, stop):
            task.cancel()
        await asyncio.gather(work, stop, return_exceptions=True)
        report.title("Satreel stops")
        if not stopped:
            work.result()
    report.step("all processes have ended")
    return 0


async def _demo(settings: SandboxSettings) -> int:
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="satreel-demo-"))
    own = beside(settings, folder)
    seed = secrets.token_hex(8)
    admin = Person.of("Admin", "", seed=seed)
    await admin.client.close()
    report.title("Satreel starts")
    try:
        async with running(own, admin_addresses=[admin.wallet.address], progress=report.step) as house:
            report.step(f"the mesh serves at {house.url}")
            await demo.play(house, report, seed=seed)
    except (NotInTime, GraphqlError, SandboxFailure) as problem:
        report.check("the demo ran to its end", held=False, found=problem)
    report.summary()
    if report.holds:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        report.step(f"logs and data are kept in {folder}")
    return 0 if report.holds else 1


async def _addresses(house: House, report: Report) -> None:
    report.title("Satreel serves")
    report.step(f"GraphQL and GraphiQL   {house.url}/graphql")
    report.step(f"live updates           ws://{house.url.removeprefix('http://')}/graphql")
    if house.settings.viewer_port and not house.settings.otlp_endpoint:
        report.step(f"traces and metrics     http://127.0.0.1:{house.settings.viewer_port}/")
    report.step(f"with TLS, and gRPC     {house.secure_url}   (authority: {house.tls_dir / 'ca.pem'})")
    report.step(f"REST                   {house.url}/docs, described by {house.url}/openapi.json")
    if house.settings.replicas > 1 or house.settings.sidecars:
        await _replicas(house, report)
    report.step(f"logs                   {house.parts.logs}")
    report.step("stop with Ctrl-C")


async def _replicas(house: House, report: Report) -> None:
    """Where each instance is called by others, and who leads."""
    by = "mTLS at its sidecar" if house.settings.sidecars else "itself"
    report.step(f"each of them is called at an address of its own ({by}):")
    for part in REPLICATED:
        places = "  ".join(house.layout.entrance(one) for one in house.layout.of(part))
        leader = await house.until_serving(part)
        leads = f"   {leader.name} leads" if leader.leads_alone and house.settings.replicas > 1 else ""
        report.step(f"  {part:10} {places}{leads}")


def _seed(data_dir: Path) -> str:
    """The demo people's wallets are the same in every run over one data folder."""
    path = data_dir / "people.seed"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(f"{secrets.token_hex(16)}-{time.time_ns()}")
    return path.read_text()


if __name__ == "__main__":
    sys.exit(main())
