"""The look before there is money: what is right, and everything that may be wrong, over the real node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mesh.clock import SystemClock
from sandbox.explorers.faults import Fault
from sandbox.explorers.server import Explorers, running_explorers
from sandbox.node import BsvNode
from sandbox.process import free_port
from sandbox.regtest import Regtest
from services.chain import preflight
from services.chain.adapters.keyfile import KeyFile, write_key_file
from services.chain.config import ChainSettings
from services.chain.domain.keys import FLOAT, KeyRing
from services.chain.domain.values import Network
from tests.fixtures_explorers import ARC_KEY, WOC_KEY, explorers_settings

PASSPHRASE = "anvil brisk cargo dwell ember flint"
SEED = bytes(range(64))


@pytest_asyncio.fixture
async def explorers(bsv_node: BsvNode, regtest: Regtest) -> AsyncIterator[Explorers]:
    await regtest.mine(10)
    async with running_explorers(explorers_settings(bsv_node)) as running:
        yield running


@pytest.fixture
def settings(explorers: Explorers, bsv_node: BsvNode, tmp_path: Path) -> ChainSettings:
    keys, words = tmp_path / "regtest.keys", tmp_path / "passphrase"
    write_key_file(keys, KeyFile.seal(SEED, Network.REGTEST, PASSPHRASE, scrypt_n=2))
    words.write_text(PASSPHRASE)
    words.chmod(0o600)
    return ChainSettings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "woc_url": explorers.woc_url,
            "woc_key": WOC_KEY,
            "woc_per_s": 100,
            "arc_url": explorers.arc_url,
            "arc_key": ARC_KEY,
            "node_url": bsv_node.url,
            "key_file": keys,
            "key_passphrase_file": words,
            "source_timeout_s": 60,
        }
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


async def wrong(settings: ChainSettings, **changes: object) -> dict[str, str]:
    """What is found wrong with these settings."""
    changed = settings.model_copy(update=changes)
    return {
        found.what: found.told
        async for found in preflight.findings(changed, SystemClock())
        if not found.right
    }


async def test_all_is_right_and_nothing_is_written(
    settings: ChainSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(tmp_path)
    assert await preflight.main(settings) == 0
    told = capsys.readouterr().out
    assert KeyRing(SEED, Network.REGTEST).address(FLOAT) in told
    assert "whatsonchain then node; 0 blocks apart" in told
    assert "arc then whatsonchain.sending then node.sending" in told
    assert "WRONG" not in told
    assert files(tmp_path) == before


async def test_wrong_keys_are_named(settings: ChainSettings, tmp_path: Path) -> None:
    words = tmp_path / "other"
    words.write_text("something else altogether")
    words.chmod(0o600)
    assert "another passphrase" in (await wrong(settings, key_passphrase_file=words))["keys"]
    assert "key ceremony" in (await wrong(settings, key_file=None))["keys"]
    assert list(await wrong(settings, cold_address="1BoatSLRHtKNngkdXEeobR76b53LETtpyT")) == ["hot wallet"]


async def test_a_source_of_another_network_is_named(settings: ChainSettings) -> None:
    found = await wrong(settings, network=Network.TEST)
    assert "not that of test" in found["whatsonchain"]
    assert "not that of test" in found["node"]
    assert "of the regtest network, not of test" in found["keys"]


async def test_sources_that_are_away_lie_or_lag_are_named(
    settings: ChainSettings, explorers: Explorers
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert {"arc"} == set(await wrong(settings, arc_url=nowhere))
    assert {"whatsonchain"} == set(await wrong(settings, woc_url=nowhere))
    explorers.faults.add(Fault.BAD_WORK, times=None)
    assert {"whatsonchain"} == set(await wrong(settings))
    explorers.faults.reset()
    explorers.faults.add(Fault.BEHIND, blocks=6, times=None)
    assert (await wrong(settings))["reading"].endswith("6 blocks apart")


async def test_a_fee_above_what_is_allowed_is_named(bsv_node: BsvNode, settings: ChainSettings) -> None:
    async with running_explorers(explorers_settings(bsv_node, fee_sats_per_kb=1_001)) as dear:
        found = await wrong(settings, arc_url=dear.arc_url)
    assert found == {"arc": "asks for 1001 sat/kB, at most 1000 are allowed"}
