"""gen/ changes file by file, and only where something changed."""

from __future__ import annotations

from pathlib import Path

from tools import protogen


def _write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / "satreel" / f"{name}_pb2.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_only_what_changed_is_replaced_and_what_is_gone_is_removed(tmp_path: Path) -> None:
    target, fresh = tmp_path / "gen", tmp_path / "fresh"
    _write(target, same="1", changed="1", gone="1")
    (target / ".stamp").write_text("kept")
    (target / "satreel" / "py.typed").touch()
    untouched_ns = (target / "satreel" / "same_pb2.py").stat().st_mtime_ns
    _write(fresh, same="1", changed="2", new="1")
    assert protogen.publish(fresh, target) == 3
    found = {path.name: path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found == {
        "same_pb2.py": "1",
        "changed_pb2.py": "2",
        "new_pb2.py": "1",
        "py.typed": "",
        ".stamp": "kept",
    }
    assert (target / "satreel" / "same_pb2.py").stat().st_mtime_ns == untouched_ns
