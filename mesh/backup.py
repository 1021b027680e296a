"""`python -m mesh.backup save|restore|list SERVICE [FOLDER ...]`: a service's SQLite records, kept elsewhere.

`save` runs beside the service: it copies the records as of one moment, then the files of the folders named
(below the data folder; such as are never changed once they are written), so that the files hold all that the
records no longer do. `restore` puts the newest copy back, or that of `--at`; where there are records already
it changes nothing. The process must stand still meanwhile. Exit codes: 0 done, 1 not done.

SATREEL_DATA_DIR names the data folder, SATREEL_BACKUP_URL where to: file:///FOLDER or s3://BUCKET/PREFIX with
the usual AWS_… variables. What is old there is dropped by the bucket's own rule.

    <service>/<time>.sqlite   a copy; complete once <time>.json is there
    <service>/<time>.json     {"sha256": …, "bytes": …}
    <service>/files/<path>    files, by their path below the data folder; copied once
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

TIME_FORMAT = "%Y%m%dT%H%M%SZ"
CHUNK_BYTES = 1024 * 1024


class BackupFailed(Exception):  # noqa: N818 - names what happened
    """Nothing was restored, or no copy was completed; the text says why."""


class Backup:
    """The copies of one service."""

    def __init__(self, service: str, data_dir: Path, store: ObjectStore) -> None:
        self._service, self._data_dir, self._store = service, data_dir, store
        self._records = data_dir / "records" / f"{service}.sqlite"

    def save(self, folders: Sequence[str]) -> str:
        """Makes a copy; gives its time. Raises BackupFailed."""
        if not self._records.exists():
            raise BackupFailed(f"there are no records at {self._records}")
        copy = self._records.with_suffix(".backup")
        time = datetime.now(UTC).strftime(TIME_FORMAT)
        try:
            _copy(self._records, copy)
            with copy.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            obstore.put(self._store, self._name(f"{time}.sqlite"), copy)
            size = copy.stat().st_size
        finally:
            copy.unlink(missing_ok=True)
        for folder in folders:
            self._save_files(self._data_dir / folder)
        self._put_manifest(time, {"sha256": digest, "bytes": size})
        return time

    def times(self) -> list[str]:
        """Of all complete copies, oldest first."""
        return sorted(name.removesuffix(".json") for name in self._names() if name.endswith(".json"))

    def restore(self, at: str | None = None) -> str:
        """Puts back the copy of a time, or the newest; gives its time. Raises BackupFailed."""
        if self._records.exists() or self._records.with_name(f"{self._records.name}-wal").exists():
            raise BackupFailed(f"there are records at {self._records}; move them away first")
        times = self.times()
        if not times or (at is not None and at not in times):
            raise BackupFailed(f"there is no complete copy{f' of {at}' if at else ''}; there are {times}")
        time = at or times[-1]
        manifest = json.loads(self._get(f"{time}.json"))
        for name in self._names("files/"):
            self._fetch(f"files/{name}", self._data_dir / name)
        fetched = self._records.with_suffix(".restored")
        if self._fetch(f"{time}.sqlite", fetched) != manifest["sha256"]:
            fetched.unlink()
            raise BackupFailed(f"the copy of {time} was changed since it was made")
        fetched.rename(self._records)
        return time

    def _save_files(self, folder: Path) -> None:
        known = set(self._names("files/"))
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            name = path.relative_to(self._data_dir).as_posix()
            if name not in known:
                obstore.put(self._store, self._name(f"files/{name}"), path)

    def _put_manifest(self, time: str, manifest: dict[str, object]) -> None:
        obstore.put(self._store, self._name(f"{time}.json"), json.dumps(manifest).encode())

    def _names(self, below: str = "") -> Iterator[str]:
        prefix = f"{self._service}/{below}"
        for page in obstore.list(self._store, prefix=prefix.rstrip("/")):
            for found in page:
                name = found["path"].removeprefix(prefix)
                if below or "/" not in name:
                    yield name

    def _get(self, name: str) -> bytes:
        return bytes(obstore.get(self._store, self._name(name)).bytes())

    def _fetch(self, name: str, path: Path) -> str:
        """Its SHA-256. The file appears whole or not at all, in place of one that is there already."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part, digest = path.with_name(f"{path.name}.part"), hashlib.sha256()
        with part.open("wb") as file:
            for chunk in obstore.get(self._store, self._name(name)).stream(min_chunk_size=CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        return digest.hexdigest()

    def _name(self, name: str) -> str:
        return f"{self._service}/{name}"


def _copy(records: Path, copy: Path) -> None:
    """The records as of one moment; writers go on meanwhile."""
    copy.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"file:{records}?mode=rw", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
        (found,) = target.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise BackupFailed(f"{records} is damaged: {found}")


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m mesh.backup", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("save", "restore", "list"))
    parser.add_argument("service")
    parser.add_argument("folders", nargs="*", help="folders of files beside the records, for `save`")
    parser.add_argument("--at", default=os.environ.get("SATREEL_RESTORE_AT") or None, help="a time of `list`")
    asked = parser.parse_args(arguments)
    try:
        url, data_dir = os.environ["SATREEL_BACKUP_URL"], Path(os.environ["SATREEL_DATA_DIR"])
    except KeyError as missing:
        parser.error(f"{missing} is not set")
    # The local store makes its folder; others take no such option.
    store = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
    backup = Backup(asked.service, data_dir, store)
    try:
        if asked.what == "save":
            print(f"saved {asked.service} {backup.save(asked.folders)}")
        elif asked.what == "restore":
            print(f"restored {asked.service} {backup.restore(asked.at)}")
        else:
            print("\n".join(backup.times()))
    except (BackupFailed, BaseError, OSError, sqlite3.Error) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
