"""`python -m sandbox …` as a person meets it: what is missing or wrong is said plainly, all at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sandbox.launcher import House
from sandbox.node import BsvNode
from sandbox.outside import Unreachable, require_answers
from sandbox.process import free_port, sole_run
from sandbox.settings import elsewhere

# Runs a module as `python -m` does, on a machine that no program is bundled for.
ELSEWHERE = """
import platform, runpy, sys
platform.machine = lambda: "riscv64"
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
NODE, REDIS = "SATREEL_NODE_URL", "SATREEL_REDIS_URL"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SATREEL_")}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=kept | environment, timeout=150, check=False
    )


def test_an_unsupported_platform_is_told_all_settings_that_help_at_once(tmp_path: Path) -> None:
    folder = {"SATREEL_DATA_DIR": str(tmp_path)}
    for command in (["sandbox.binaries"], ["sandbox", "run"], ["sandbox", "demo"]):
        told = run("-c", ELSEWHERE, *command, **folder)
        assert told.returncode == 1, command
        assert NODE in told.stderr or NODE in told.stdout
        assert REDIS in told.stderr or REDIS in told.stdout
        assert "Traceback" not in told.stderr


def test_what_a_setting_names_elsewhere_needs_no_bundled_program(tmp_path: Path) -> None:
    dead_node, dead_redis = f"http://u:p@127.0.0.1:{free_port()}", f"redis://127.0.0.1:{free_port()}"
    assert run("-c", ELSEWHERE, "sandbox.binaries", **{NODE: dead_node, REDIS: dead_redis}).returncode == 0
    one_left = run("-c", ELSEWHERE, "sandbox.binaries", **{NODE: dead_node})
    assert one_left.returncode == 1
    assert NODE not in one_left.stderr
    assert REDIS in one_left.stderr
    # The launcher gets as far as asking them.
    both = {NODE: dead_node, REDIS: dead_redis, "SATREEL_DATA_DIR": str(tmp_path)}
    told = run("-c", ELSEWHERE, "sandbox", "run", **both)
    assert told.returncode == 1
    assert "no BSV node answers there" in told.stderr


def test_dead_addresses_are_named_with_their_settings_before_anything_starts(tmp_path: Path) -> None:
    dead = f"127.0.0.1:{free_port()}"
    named = {
        NODE: f"http://u:hunter2@{dead}",
        REDIS: f"redis://:hunter2@{dead}",
        "SATREEL_NODE_ZMQ": f"tcp://{dead}",
        "SATREEL_AITUBO_URL": f"http://{dead}",
        "SATREEL_AEROSPIKE_HOSTS": dead,
    }
    told = run("-m", "sandbox", "run", SATREEL_DATA_DIR=str(tmp_path), **named)
    assert told.returncode == 1
    lines = told.stderr.strip().splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        NODE,
        "SATREEL_NODE_ZMQ",
        REDIS,
        "SATREEL_AITUBO_URL",
        "SATREEL_AEROSPIKE_HOSTS",
    ]
    assert all(dead in line for line in lines)
    assert "hunter2" not in told.stderr + told.stdout
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "node").exists()


def test_wrong_settings_are_named_in_plain_words() -> None:
    for command in (["sandbox", "run"], ["sandbox.binaries"]):
        told = run("-m", *command, SATREEL_SANDBOX_HTTP_PORT="abc", SATREEL_SANDBOX_ROUND_S="-1")
        assert told.returncode == 1
        lines = told.stderr.strip().splitlines()
        assert [line.partition(":")[0] for line in lines] == [
            "SATREEL_SANDBOX_HTTP_PORT",
            "SATREEL_SANDBOX_ROUND_S",
        ]
        assert "http" not in told.stderr
    assert "SATREEL_SANDBOX_HTTP_PORT:" in run("-m", "sandbox", "run", "--http-port", "abc").stderr


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    with sole_run(tmp_path):
        told = run("-m", "sandbox", "run", SATREEL_DATA_DIR=str(tmp_path))
        assert told.returncode == 1
        assert told.stderr.strip() == (
            f"Another run uses this folder: {tmp_path}. Stop it, or choose another with SATREEL_DATA_DIR."
        )
    with sole_run(tmp_path):
        pass


async def test_a_node_that_cannot_be_played_on_is_refused(bsv_node: BsvNode, tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"result": {"chain": "main", "blocks": 800_000}, "error": None})

    runner = web.AppRunner(web.Application())
    runner.app.router.add_post("/", answer)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
        main = elsewhere(tmp_path, node_url=f"http://u:hunter2@127.0.0.1:{port}")
        with pytest.raises(Unreachable, match="a node of the chain main") as refusal:
            await require_answers(main, {})
        assert "hunter2" not in str(refusal.value)
    finally:
        await runner.cleanup()
    stranger = elsewhere(tmp_path, node_url=bsv_node.url.replace("satreel:", "satreel:x"))
    with pytest.raises(Unreachable, match="does not accept this user and password"):
        await require_answers(stranger, {})


async def test_outside_systems_are_used_as_they_are_named(
    bsv_node: BsvNode, valkey_url: str, tmp_path: Path
) -> None:
    settings = elsewhere(
        tmp_path,
        node_url=bsv_node.url,
        node_zmq=bsv_node.zmq_endpoint,
        redis_url=valkey_url,
        aitubo_url="https://creator.example",
        aitubo_key="hunter2",
    )
    alive = settings.model_copy(update={"aitubo_url": ""})
    answers = await require_answers(alive, {})
    assert len(answers) == 3
    assert "regtest" in answers[0]
    house = House(settings, lambda _: None)
    told = await house._outside_world()
    await house.stop()
    assert house.parts.running == {}
    assert told["chain"] == {
        "SATREEL_REDIS_URL": valkey_url,
        "SATREEL_CHAIN_NODE_URL": bsv_node.url,
        "SATREEL_CHAIN_NODE_ZMQ": bsv_node.zmq_endpoint,
    }
    assert told["content"]["SATREEL_CONTENT_AITUBO_KEY"] == "hunter2"
    others = str({name: said for name, said in told.items() if name not in {"chain", "content"}})
    assert "hunter2" not in others
    assert bsv_node.url not in others


async def test_whatsonchain_and_arc_are_started_on_request(bsv_node: BsvNode, tmp_path: Path) -> None:
    named = {"redis_url": "redis://nobody", "aitubo_url": "https://nobody", "aitubo_key": "k"}
    house = House(elsewhere(tmp_path, node_url=bsv_node.url, explorers=True, **named), lambda _: None)
    try:
        told = (await house._outside_world())["chain"]
        assert list(house.parts.running) == ["explorers"]
        key = {"woc-api-key": told["SATREEL_CHAIN_WOC_KEY"]}
        bearer = {"Authorization": f"Bearer {told['SATREEL_CHAIN_ARC_KEY']}"}
        async with aiohttp.ClientSession() as http:
            async with http.get(told["SATREEL_CHAIN_WOC_URL"] + "/chain/info", headers=key) as answer:
                assert (await answer.json())["blocks"] == await house.chain.height()
            async with http.get(told["SATREEL_CHAIN_ARC_URL"] + "/v1/policy", headers=bearer) as answer:
                assert answer.status == 200
            async with http.get(told["SATREEL_CHAIN_ARC_URL"] + "/v1/policy") as answer:
                assert answer.status == 401
    finally:
        await house.stop()
