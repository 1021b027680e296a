"""The command itself, over a real node with a record that the chain service wrote."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox.node import BsvNode
from sandbox.regtest import Regtest
from services.chain.domain.keys import RECORD
from services.chain.domain.values import FLOAT_USER
from services.rounds.domain.record import canonical
from tests.chain.outside import Outside
from tests.chain.test_real_node import deposited
from tests.chain.world import Rig
from tests.verifier.world import exported, payload_of
from verifier.__main__ import run


@dataclass
class Written:
    """A record on the node's chain, and the files that belong to it."""

    url: str
    txid: str
    signer: str
    export: Path

    async def run(self, *arguments: str, url: str | None = None) -> int:
        """The exit code; the command has a loop of its own."""
        given = ("--network", "regtest", "--node-url", self.url if url is None else url)
        return await asyncio.to_thread(run, (*given, *arguments))


@pytest_asyncio.fixture
async def written(rig: Rig, regtest: Regtest, bsv_node: BsvNode, tmp_path: Path) -> Written:
    await deposited(rig, regtest, FLOAT_USER, 100_000)
    anchor = await regtest.rpc.record("getblockheader", await regtest.tip(), True)
    export = exported()
    payload = payload_of(export, str(anchor["hash"]))
    payload["anchor"]["height"] = anchor["height"]
    await rig.desk.results.record(payload["round"]["id"], canonical(payload))
    assert await rig.desk.write_next()
    await regtest.mine(2)
    await rig.sync()
    shown = await rig.desk.results.get(payload["round"]["id"])
    path = tmp_path / "round.json"
    path.write_bytes(export)
    return Written(bsv_node.url, shown.result.txid, rig.world.keys.address(RECORD), path)


async def test_a_real_record_is_verified(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    user = json.loads(written.export.read_text())["payouts"][0][2]
    shown = base64.b64encode(f"User:{user}".encode()).decode()
    given = (written.txid, "--record", str(written.export), "--signer", written.signer)
    assert await written.run(*given, "--user", shown) == 0
    text = capsys.readouterr().out
    assert text.endswith("12 checks hold\n")
    assert "2 confirmations, Merkle proof of 1 levels" in text
    assert f"user {user}: " in text
    assert "beside it " in text
    assert await written.run(written.txid) == 0
    assert "8 checks hold, 3 were not made" in capsys.readouterr().out


async def test_a_real_record_is_verified_through_whatsonchain(
    written: Written, outside: Outside, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--whatsonchain", outside.explorers.woc_url, "--record", str(written.export))
    assert await written.run(written.txid, *given, url="") == 0
    assert capsys.readouterr().out.endswith("11 checks hold\n")
    assert await written.run("ab" * 32, *given, url="") == 2
    assert "knows no transaction" in capsys.readouterr().err


async def test_what_does_not_fit_exits_with_1(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads(written.export.read_text())
    value["payouts"][0][3] += 1
    written.export.write_text(canonical(value))
    assert await written.run(written.txid, "--record", str(written.export), "--creator", "x") == 1
    text = capsys.readouterr().out
    assert "WRONG export" in text
    assert "WRONG recomputation" in text
    assert await written.run(written.txid, "--signer", "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn") == 1
    assert "WRONG signature" in capsys.readouterr().out


async def test_what_cannot_be_answered_exits_with_2(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SATREEL_NODE_URL", raising=False)
    (tmp_path / "cut.json").write_bytes(written.export.read_bytes()[:-20])
    for arguments, url, words in (
        (("ab" * 32,), None, "knows no transaction"),
        ((written.txid, "--record", str(tmp_path / "none")), None, "No such file"),
        ((written.txid, "--record", str(tmp_path / "cut.json")), None, "no JSON"),
        ((written.txid, "--timeout-s", "1"), "http://127.0.0.1:1", "getrawtransaction"),
        ((written.txid,), "", "no source of the chain"),
    ):
        assert await written.run(*arguments, url=url) == 2
        seen = capsys.readouterr()
        assert words in seen.err
        assert (seen.out, seen.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("arguments", [(), ("x",), ("ab" * 32, "--network", "moon"), ("AB" * 32,)])
def test_wrong_arguments_are_told(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    assert "usage: satreel-verify-round" in capsys.readouterr().err


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "Exit codes" in text
    assert all(option in text for option in ("--record", "--user", "--signer", "--network", "--node-url"))
