"""GraphiQL's files: those that the page names, checked, all or none."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest
from strawberry.http.ides import get_graphql_ide_html

from graphql_gateway.edge.graphiql import Asset, page_over
from tools.graphiql import NotFetched, fetch, is_complete, sha384, wanted

SCRIPT, STYLE = b"run()", b"a {}"
ASSETS = [
    Asset("@some/thing", "1.0.2", "dist/thing.js", sha384(SCRIPT)),
    Asset("@some/thing", "1.0.2", "thing.css", sha384(STYLE)),
]


def archive(folder: Path, **files: bytes) -> Path:
    path = folder / "thing.tgz"
    with tarfile.open(path, "w:gz") as package:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    return path


def test_the_page_loads_nothing_that_is_not_fetched_and_checked(tmp_path: Path) -> None:
    page = get_graphql_ide_html(graphql_ide="graphiql")
    assert len(wanted()) == len(re.findall(r'(?:src|href)="https?://', page)) == 7
    assert "https://" not in page_over(page, tmp_path)
    assert all(f'"/graphiql/{asset.name}"' in page_over(page, tmp_path) for asset in wanted())


def test_files_are_taken_out_of_packages(tmp_path: Path) -> None:
    asked: list[str] = []

    def pack(package: str, folder: Path) -> Path:
        asked.append(package)
        return archive(folder, **{"dist/thing.js": SCRIPT, "thing.css": STYLE, "more.js": b"unwanted"})

    fetch(tmp_path / "files", ASSETS, pack)
    assert asked == ["@some/thing@1.0.2"]
    assert is_complete(tmp_path / "files", ASSETS)
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 2
    (tmp_path / "files" / ASSETS[1].name).write_bytes(b"b {}")
    assert not is_complete(tmp_path / "files", ASSETS)


@pytest.mark.parametrize(
    "files", [{"dist/thing.js": SCRIPT, "thing.css": b"evil"}, {"dist/thing.js": SCRIPT}]
)
def test_other_files_than_the_page_names_are_refused(files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match=r"thing\.css does not have the checksum"):
        fetch(tmp_path / "files", ASSETS, lambda _, folder: archive(folder, **files))
    assert list(tmp_path.iterdir()) == []
