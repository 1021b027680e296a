"""The topology says what the programs, contracts and manifests do."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.config import MeshSettings
from services.ledger.rpc.reading import READS
from topology import sidecar
from topology.__main__ import GENERATED, drifted, main, write
from topology.calls import all_calls, called_by, callers_of
from topology.parts import EDGE, GATEWAY, PARTS, SERVICES, From, Part, Port


def settings_of(part: Part) -> MeshSettings:
    """The part's settings with their defaults, but for those that have none."""
    module = importlib.import_module(f"{part.module}.config")
    classes = [
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, MeshSettings) and found.service == part.name
    ]
    return classes[0].model_construct()


PROGRAMS = {name: part for name, part in PARTS.items() if name != EDGE}


@pytest.mark.parametrize("part", PROGRAMS.values(), ids=PROGRAMS)
def test_programs_listen_where_the_topology_says(part: Part) -> None:
    settings = settings_of(part).model_dump()
    listens = {
        int(value.rpartition(":")[2])
        for name, value in settings.items()
        if name.endswith("listen") and (name != "listen" or part.name != GATEWAY)
    }
    assert listens == {port.number for port in part.ports}


def test_healths_are_those_that_services_report() -> None:
    assert [name for part in PARTS.values() for name in part.healths] == [READS]


def test_a_sidecar_is_told_of_whom_its_part_calls_and_of_nobody_else(tmp_path: Path) -> None:
    peers = {name: sidecar.Peer("127.0.0.1:1", ("127.0.0.1:2",)) for name in called_by("market")}
    here = "127.0.0.1:3"
    places = sidecar.Places("market", tmp_path, here, here, peers, here, tmp_path)
    assert sidecar.BOOTSTRAP_FILE in sidecar.files(places)
    for wrong in ({**peers, "rounds": peers["ledger"]}, {"ledger": peers["ledger"]}):
        with pytest.raises(ValueError, match="calls others than told"):
            sidecar.files(replace(places, peers=wrong))


def test_ports_are_unique() -> None:
    ports = [port for part in PARTS.values() for port in part.ports]
    assert len({port.number for port in ports}) == len(ports)


def test_every_method_may_be_called_by_somebody() -> None:
    assert [call.method.path for call in all_calls() if not call.callers] == []


def test_calls_read_both_ways_are_the_same() -> None:
    one = {(caller, service) for service in SERVICES for caller in callers_of(service)}
    other = {(caller, service) for caller in PARTS for service in called_by(caller)}
    assert one == other


def test_only_the_edge_and_the_outside_come_in_by_http() -> None:
    def comes(port: Port) -> bool:
        return port.connects is not From.PARTS

    assert {part.name for part in PARTS.values() if any(map(comes, part.ports))} == {
        "edge",
        "gateway",
        "content",
        "chain",
    }


def test_nothing_that_is_generated_has_drifted() -> None:
    assert drifted() == []


def test_drift_is_told_and_written_away(tmp_path: Path) -> None:
    assert write(tmp_path) == list(GENERATED)
    assert drifted(tmp_path) == []
    first = tmp_path / next(iter(GENERATED))
    first.write_text(first.read_text() + "by hand")
    assert drifted(tmp_path) == [next(iter(GENERATED))]


def test_the_command_tells_drift_by_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"]) == 0
    monkeypatch.setattr("topology.__main__.GENERATED", {"README.md": lambda: "another"})
    assert main(["--check"]) == 1
    assert "README.md" in capsys.readouterr().err
