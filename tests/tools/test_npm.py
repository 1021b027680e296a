"""A registry that fails once fails nobody."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tools import npm


def packed() -> bytes:
    """A package of npm's."""
    archive, said = io.BytesIO(), json.dumps({"name": "thing", "version": "1.0.0"}).encode()
    with tarfile.open(fileobj=archive, mode="w:gz") as package:
        member = tarfile.TarInfo("package/package.json")
        member.size = len(said)
        package.addfile(member, io.BytesIO(said))
    return archive.getvalue()


PACKAGE = packed()


@contextmanager
def registry(*answers: int) -> Iterator[tuple[str, list[str]]]:
    """Answers with these statuses, one a request, then with the package; its address, and what was asked."""
    left, asked = [*answers], list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status = left.pop(0) if left else 200
            body = PACKAGE if status == 200 else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def wanting(folder: Path, url: str) -> Path:
    """A folder that wants the package from there."""
    folder.mkdir()
    project = {"name": "project", "version": "1.0.0", "dependencies": {"thing": "1.0.0"}}
    digest = base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode()
    thing = {"version": "1.0.0", "resolved": f"{url}/thing.tgz", "integrity": f"sha512-{digest}"}
    lock = {"lockfileVersion": 3, "packages": {"": project, "node_modules/thing": thing}, **project}
    (folder / "package.json").write_text(json.dumps(project))
    (folder / "package-lock.json").write_text(json.dumps(lock))
    (folder / ".npmrc").write_text("audit=false\nfund=false\nupdate-notifier=false\n")
    return folder


@pytest.mark.parametrize("answers", [[500], [404]], ids=["a file again", "all again"])
def test_what_fails_once_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[int]
) -> None:
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with registry(*answers) as (url, asked):
        project = wanting(tmp_path / "project", url)
        npm.install(project)
        assert (project / "node_modules" / "thing" / "package.json").is_file()
        assert asked == ["/thing.tgz"] * 2
        # What is there is there.
        npm.install(project)
        assert len(asked) == 2


def test_what_fails_always_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with registry(*[404] * 100) as (url, asked), pytest.raises(npm.NotInstalled, match="could not install"):
        npm.install(wanting(tmp_path / "project", url))
    assert asked == ["/thing.tgz"] * npm.INSTALL_TRIES
