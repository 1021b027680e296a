"""Sidecars: the configuration of the Envoy beside a part of the mesh, made from topology and contracts.

`files` gives all that Envoy reads, for the places that a profile has. docs/SIDECARS.md says what it does.
"""

from topology.sidecar.bootstrap import BOOTSTRAP_FILE, files
from topology.sidecar.places import MIB, Limits, Peer, Places

__all__ = ["BOOTSTRAP_FILE", "MIB", "Limits", "Peer", "Places", "files"]
