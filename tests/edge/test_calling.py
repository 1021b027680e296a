"""docs/CALLING.md as a team follows it: the wheel in a Python of its own, a certificate, every snippet."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.edge.conftest import Door
from tools import protos_wheel

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "CALLING.md"
WATCHING = "watching"

# What the test does with the snippets, in the program that they make together.
USE = """

async def use(token: str, straight: str, folder: Path) -> AsyncIterator[tuple[str, object]]:
    insight = Identity.read(folder, "insight")
    yield "round", (await current_round()).id
    async with through_the_edge() as edge:
        found = await current_round_within(edge, 10)
        yield "in time", found.id if found else None
        # With 0 s the answer may be there before anybody looks at the clock.
        yield "too late", await current_round_within(edge, -1)
        yield "no entries", await entries(edge, "0" * 8 + "-0000" * 3 + "-" + "0" * 12)
        try:
            await entries(edge, "none")
        except ValueError as problem:
            yield "violations", str(problem)
        yield "address", await deposit_address(edge, token)
        yield "no user", await reason(ChainServiceStub(edge).ListWithdrawals(chain.ListWithdrawalsRequest()))
        yield "wrong user", await reason(deposit_address(edge, "nobody's"))
        yield "withdrawal", await reason(withdraw(edge, token, await deposit_address(edge, token), 1_000_000))
        yield "rounds", [one.id async for one in all_rounds(edge)]
        yield "not at the edge", await reason(anext(heights(edge)))
    async with straight_to(straight, ME) as mine:
        tip = ChainServiceStub(mine).GetTip(chain.GetTipRequest())
        yield "not straight", await reason(tip)
    async with straight_to(straight, insight) as mine:
        height, cursor = await anext(heights(mine))
        yield "height", height
        print("watching", flush=True)
        yield "next height", (await anext(heights(mine, cursor)))[0]


async def reason(call: Awaitable[object]) -> list[str]:
    try:
        return ["done", str(await call)]
    except grpc.aio.AioRpcError as error:
        failure = Failure.of(error)
        return [failure.code.name, failure.reason, failure.domain]


async def main() -> None:
    token, straight, folder = sys.argv[1:]
    print(json.dumps({name: found async for name, found in use(token, straight, Path(folder))}))


asyncio.run(main())
"""


def boxes(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Team:
    """Who has followed the page: a folder with certificate and program, and a Python that has the wheel."""

    folder: Path
    python: Path

    @property
    def program(self) -> Path:
        return self.folder / "program.py"


def run(command: list[str], folder: Path, **environment: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def stand_in(path: Path, stands_for: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec {stands_for} "$@"\n')
    path.chmod(0o700)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def team(door: Door, tmp_path_factory: pytest.TempPathFactory) -> Team:
    folder = tmp_path_factory.mktemp("team")
    (folder / ".satreel" / "data").mkdir(parents=True)
    (folder / ".satreel" / "data" / "tls").symlink_to(door.house.tls_dir)
    venv.create(folder / "venv", with_pip=False)
    found = Team(folder, folder / "venv" / "bin" / "python")
    protos_wheel.build(folder / "dist")
    pip = f"{sys.executable} -m pip --python {found.python} --disable-pip-version-check --quiet"
    stand_in(folder / "bin" / "pip", pip)
    stand_in(folder / ".venv" / "bin" / "python", sys.executable)
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    (shell,) = boxes("sh")
    await asyncio.to_thread(run, ["sh", "-ec", shell], folder, PATH=path, PYTHONPATH=str(ROOT))
    imports = "import json\nimport sys\nfrom collections.abc import Awaitable\n"
    text = imports + "\n\n".join(boxes("python")).replace("8443", str(door.house.settings.https_port)) + USE
    found.program.write_text(text)
    return found


async def test_a_strict_checker_finds_nothing(team: Team) -> None:
    checker = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(team.python)]
    await asyncio.to_thread(run, [*checker, "program.py"], team.folder)


async def rounds_known(door: Door) -> tuple[str, list[str]]:
    """Ids: of the current one, and of all."""
    _, _, current = await door.ask("GET", "/v1/rounds/current")
    _, _, told = await door.ask("GET", "/v1/rounds")
    return current["round"]["id"], [one["id"] for one in told["rounds"]]


async def test_the_snippets_do_what_the_page_says(door: Door, team: Team) -> None:
    house, token = door.house, door.user.client.access_token
    before = await rounds_known(door)
    straight = f"127.0.0.1:{house.settings.port('chain')}"
    program = await asyncio.create_subprocess_exec(
        team.python, team.program, token, straight, house.tls_dir, cwd=team.folder, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    assert (await program.stdout.readline()).decode().strip() == WATCHING
    await house.chain.mine()
    told: dict[str, Any] = json.loads(await program.stdout.read())

    # A round may have ended meanwhile, and the next one come.
    after = await rounds_known(door)
    _, _, deposit = await door.ask("GET", "/v1/me/deposit-address", token=token)
    assert {told["round"], told["in time"]} <= {before[0], after[0]}
    assert told["too late"] is None
    assert told["no entries"] == []
    assert told["violations"].startswith("satreel.rounds: ")
    assert "'round_id': " in told["violations"]
    assert told["address"] == deposit["address"]
    assert told["no user"] == ["UNAUTHENTICATED", "USER_TOKEN_MISSING", "satreel.chain"]
    assert told["wrong user"] == ["UNAUTHENTICATED", "SESSION_INVALID", "satreel.gateway"]
    assert told["withdrawal"][:2] == ["FAILED_PRECONDITION", "INSUFFICIENT_FUNDS"]
    assert told["rounds"] in (before[1], after[1])
    refused = ["PERMISSION_DENIED", "CALLER_NOT_ALLOWED", "satreel.chain"]
    assert told["not at the edge"] == told["not straight"] == refused
    assert told["next height"] == told["height"] + 1
