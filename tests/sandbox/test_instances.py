"""Who runs where when there are several of each: nothing is shared that must not be, and the rest is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sandbox.instances import Layout
from sandbox.settings import REPLICATED, SERVICES, SandboxSettings
from topology.calls import called_by
from topology.sidecar import files


def layout(folder: Path, **settings: Any) -> Layout:
    return Layout(SandboxSettings.model_validate({"data_dir": folder, **settings}))


def test_of_one_each_the_part_is_the_name_and_its_place_is_its_address(tmp_path: Path) -> None:
    alone = layout(tmp_path)
    assert [one.name for one in alone.instances] == list(REPLICATED)
    assert alone.edge_places("").pictures == ()
    (ledger,) = alone.of("ledger")
    assert alone.entrance(ledger) == alone.address(ledger)


def test_nobody_listens_where_another_does(tmp_path: Path) -> None:
    settings = SandboxSettings.model_validate({"data_dir": tmp_path, "replicas": 3, "sidecars": True})
    three = Layout(settings)
    own = three.own_environment([])
    taken = [address for told in own.values() for name, address in told.items() if name.endswith("_LISTEN")]
    for one in three.instances:
        places = three.sidecar_places(one, "")
        taken += [places.listen, places.admin, *(peer.listen for peer in places.peers.values())]
    assert len(taken) == len(set(taken))
    ports = [int(address.rpartition(":")[2]) for address in taken]
    assert settings.first_port <= min(ports) <= max(ports) < settings.first_port + settings.ports


def test_an_application_behind_a_sidecar_calls_there_and_no_further(tmp_path: Path) -> None:
    two = layout(tmp_path, replicas=2, sidecars=True)
    own = two.own_environment([])
    for one in two.instances:
        places = two.sidecar_places(one, "")
        peers = json.loads(own[one.name]["SATREEL_PEERS"])
        assert peers == {name: peer.listen for name, peer in places.peers.items()}
        assert peers.keys() == set(called_by(one.part))
        assert all(peer.replicas == two.entrances(name) for name, peer in places.peers.items())
        assert files(places)


def test_what_is_one_thing_for_all_is_told_to_all(tmp_path: Path) -> None:
    two = layout(tmp_path, replicas=2)
    own = two.own_environment([])
    assert len({own[f"gateway-{number}"]["SATREEL_GATEWAY_TICKET_KEY"] for number in (1, 2)}) == 1
    content = [own[f"content-{number}"] for number in (1, 2)]
    assert len({told["SATREEL_CONTENT_INSTANCE"] for told in content}) == 2
    # AITubo may ask when who ordered is gone.
    assert len({told["SATREEL_CONTENT_MEDIA_URL"] for told in content}) == 1
    assert two.edge_places("").pictures == tuple(told["SATREEL_CONTENT_MEDIA_LISTEN"] for told in content)
    peers = json.loads(own["gateway-1"]["SATREEL_PEERS"])
    assert {name: addresses.count(":") for name, addresses in peers.items()} == dict.fromkeys(SERVICES, 2)
