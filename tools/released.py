"""The contracts as they were released last: `python -m tools.released` releases those that are there now.

A release is a descriptor set without comments, `protos/released.binpb`, and the version in
clients/python/pyproject.toml, which the wheel `satreel-protos` has. Callers may count on all of it as
long as the packages are called `v1`: what would break them is refused by `make check` (tools/buf_lint.py).
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tools import buf_lint, protogen

RELEASED = buf_lint.RELEASED
PROJECT = protogen.ROOT / "clients" / "python" / "pyproject.toml"


def current() -> bytes:
    """The contracts as gen/ has them, without comments."""
    found = FileDescriptorSet.FromString((protogen.GEN / protogen.DESCRIPTORS).read_bytes())
    for file in found.file:
        file.ClearField("source_code_info")
    return found.SerializeToString(deterministic=True)


def has_changed() -> bool:
    """Whether the contracts are others than those released; comments do not count."""
    return not RELEASED.is_file() or RELEASED.read_bytes() != current()


def version() -> str:
    """Of the last release."""
    return str(tomllib.loads(PROJECT.read_text())["project"]["version"])


def raised(old: str) -> str:
    """The version after: nothing that was there is gone, so the middle number grows."""
    major, minor, _ = old.split(".")
    return f"{major}.{int(minor) + 1}.0"


def release() -> str:
    """Keeps the contracts as released, under a version of their own; gives it."""
    old = version()
    new = raised(old) if RELEASED.is_file() else old
    text = PROJECT.read_text()
    _replace(PROJECT, text.replace(f'version = "{old}"', f'version = "{new}"', 1).encode())
    _replace(RELEASED, current())
    return new


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.write_bytes(content)
    fresh.replace(path)


def main() -> int:
    """Gives the exit code: that of buf when the contracts are not fit for a release."""
    if code := buf_lint.main([]):
        return code
    if not has_changed():
        print(f"nothing has changed since {version()}")
        return 0
    print(
        f"released: {release()} ({RELEASED.relative_to(protogen.ROOT)}); commit it, then `make protos-wheel`"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
