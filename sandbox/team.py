"""A certificate for a team that calls services of the mesh on this machine: `python -m sandbox.team NAME`.

Makes `NAME.pem`, `NAME.key` and `ca.pem`, what docs/CALLING.md calls with, by the authority of `make run`.
The certificate is good for calling, not for serving, and for 30 days; run it again for the next one. In a
cluster cert-manager does this.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mesh import tls
from mesh.authority import ISSUES, TRUSTED
from sandbox.certificates import NAMES, held

AUTHORITY = Path(".satreel/data/tls")
# What else has a key in the authority's folder.
_FILES = ("ca", "ca-next", "user-token")
# A label of DNS, so that it fits everywhere.
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def issue(name: str, authority: Path, into: Path) -> None:
    """Makes the files. Raises ValueError for what is no name, or a part's, and without an authority."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a team: small letters, digits and hyphens")
    if name in {*NAMES, *_FILES}:
        raise ValueError(f"{name} is a part of the mesh, or a key of it; a team is called otherwise")
    if not (authority / ISSUES).is_file():
        raise ValueError(f"{authority} holds no authority; `make run` makes one")
    into.mkdir(parents=True, exist_ok=True, mode=0o700)
    with held(authority) as issuer:
        issuer.issue(name, into=into, serves=False)
        tls.write_public(into / TRUSTED, (authority / TRUSTED).read_bytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.team",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="of the team, as contracts and logs name it")
    parser.add_argument(
        "--into", type=Path, default=Path(), metavar="FOLDER", help="for its files; default: here"
    )
    parser.add_argument(
        "--authority", type=Path, default=AUTHORITY, metavar="FOLDER", help=f"default: {AUTHORITY}"
    )
    told = parser.parse_args(arguments)
    try:
        issue(told.name, told.authority, told.into)
    except ValueError as problem:
        parser.error(str(problem))
    print(f"{told.into / told.name}.pem, {told.name}.key and ca.pem: spiffe://satreel/{told.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
