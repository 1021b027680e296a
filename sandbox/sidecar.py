"""The Envoy beside an instance of a part."""

from __future__ import annotations

from sandbox.envoy import Envoy
from topology import sidecar


class Sidecar(Envoy):
    """One sidecar, under a name that is its own among the parts: "ledger-2-sidecar".

    It starts before or after its application, and ends after it: `drain`, then stop.
    """

    def __init__(self, name: str, places: sidecar.Places) -> None:
        super().__init__(name, bootstrap=places.folder / sidecar.BOOTSTRAP_FILE, admin=places.admin)
        self.places = places

    def write(self) -> None:
        """Its files, in its folder."""
        folder = self.places.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in sidecar.files(self.places).items():
            (folder / name).write_text(text)
