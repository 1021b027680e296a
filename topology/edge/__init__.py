"""The edge: the configuration of the Envoy at the door, made from the parts of the mesh and their contracts.

`files` gives everything that Envoy reads, for the places that a profile has. docs/EDGE.md says what it does.
"""

from pathlib import Path

from topology.edge.addresses import ADDRESSES_FILE, place, read_lists, resource
from topology.edge.bootstrap import BOOTSTRAP_FILE, files
from topology.edge.places import Limits, Places

# The description of REST, generated.
OPENAPI = Path(__file__).with_name("openapi.json")

__all__ = [
    "ADDRESSES_FILE",
    "BOOTSTRAP_FILE",
    "OPENAPI",
    "Limits",
    "Places",
    "files",
    "place",
    "read_lists",
    "resource",
]
