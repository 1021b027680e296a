"""Lints the contracts with buf, offline: buf reads the descriptor set that protogen made, comments included.

`python tools/buf_lint.py` lints; with `--against FILE` it also refuses what breaks callers of an older
descriptor set.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tools import protogen


def buf(*arguments: str) -> int:
    """Runs buf on the current descriptor set; answers its exit code."""
    binary = Path(sys.executable).parent / "buf"
    image = protogen.GEN / protogen.DESCRIPTORS
    command = [str(binary), *arguments, f"{image}#format=binpb", "--config", str(protogen.ROOT / "buf.yaml")]
    return subprocess.run(command, check=False, cwd=protogen.CONTRACTS).returncode


def main() -> int:
    """Answers 0 when the contracts are clean."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--against", type=Path, help="an older descriptors.binpb that callers still use")
    against: Path | None = options.parse_args().against
    protogen.main()
    code = buf("lint")
    if against is not None:
        code = code or buf("breaking", "--against", f"{against.resolve()}#format=binpb")
    return code


if __name__ == "__main__":
    sys.exit(main())
