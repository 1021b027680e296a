"""The GraphiQL page: Strawberry's, with its scripts from a folder of ours instead of a public network.

The page itself says which files it needs, in which versions and with which checksums: `tools/graphiql.py`
fetches exactly those, and a browser refuses any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PATH = "/graphiql/"
_PUBLIC = "https://unpkg.com/"
_ASSET = re.compile(
    rf'"{re.escape(_PUBLIC)}((?:@[\w.-]+/)?[\w.-]+)@([\w.-]+)/([\w./-]+)"\s+integrity="sha384-([\w+/=]+)"'
)
# Without a network the page must not seem to load for ever.
_LOADING = ("Loading...", "Loading GraphiQL from unpkg.com… Offline, use any GraphQL client at this address.")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file out of an npm package; `sha384` is base64, as `integrity` has it."""

    package: str
    version: str
    path: str
    sha384: str

    @property
    def name(self) -> str:
        """Its place in the folder, and behind `PATH`."""
        return f"{self.package}@{self.version}/{self.path}"


def assets_of(page: str) -> list[Asset]:
    """The files that the page loads."""
    return [Asset(*found) for found in _ASSET.findall(page)]


def page_over(page: str, files: Path | None) -> str:
    """The page with its files from `PATH`; from the public network when there is no folder of them."""
    return page.replace(*_LOADING) if files is None else page.replace(_PUBLIC, PATH)
