"""What each process inherits: only what concerns it, so that keys stay where they belong."""

from __future__ import annotations

import os

from mesh.config import MeshSettings, variable_name

# The launcher says these to whom they concern, whatever the environment has.
_TOLD = {"SATREEL_REDIS_URL"}
_SHARED = {variable_name(MeshSettings, name) for name in MeshSettings.model_fields} - _TOLD
_OF_FILES = "content"


def inherited(part: str = "") -> dict[str, str]:
    """This process's environment without settings and keys that are not the part's; "" is none of the mesh's.

    Numeric libraries keep to one thread.
    """
    own = f"SATREEL_{part.upper()}_" if part else None

    def concerns(name: str) -> bool:
        if name.startswith("SATREEL_"):
            return bool(own) and (name in _SHARED or name.startswith(str(own)))
        return part == _OF_FILES or not name.startswith("AWS_")

    kept = {name: value for name, value in os.environ.items() if concerns(name)}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
