"""The Envoy at the door."""

from __future__ import annotations

from sandbox.envoy import Envoy
from topology import edge


class Edge(Envoy):
    """One edge as a part of the mesh."""

    def __init__(self, places: edge.Places) -> None:
        super().__init__("edge", bootstrap=places.folder / edge.BOOTSTRAP_FILE, admin=places.admin)
        self._places = places

    def write(self) -> None:
        """Its files, in its folder; the address lists stay as the operator left them."""
        folder = self._places.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in edge.files(self._places).items():
            (folder / name).write_text(text)
        lists = self._places.addresses or folder
        if not (lists / edge.ADDRESSES_FILE).is_file():
            edge.place(lists, edge.resource())
