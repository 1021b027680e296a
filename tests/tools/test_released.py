"""What would break programs built with the last release is refused; what adds to it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from tools import buf_lint, released


def changed(folder: Path, change: str) -> Path:
    """The contracts as they are now, with one change."""
    contracts = FileDescriptorSet.FromString(released.current())
    rounds = next(file for file in contracts.file if file.name == "satreel/rounds/v1/rounds.proto")
    entry = next(message for message in rounds.message_type if message.name == "Entry")
    match change:
        case "a field is gone":
            del entry.field[-1]
        case "a field is called otherwise":
            entry.field[0].name, entry.field[0].json_name = "other", "other"
        case "a field has another type":
            entry.field[0].type = FieldDescriptorProto.TYPE_BYTES
        case "a call is gone":
            calls = next(
                file for file in contracts.file if file.name == "satreel/rounds/v1/rounds_service.proto"
            )
            del calls.service[0].method[-1]
        case "a field is new":
            kind = FieldDescriptorProto.TYPE_STRING
            entry.field.add(name="fresh", json_name="fresh", number=999, type=kind, label=1)
    path = folder / "changed.binpb"
    path.write_bytes(contracts.SerializePartialToString())
    return path


@pytest.mark.parametrize(
    "change",
    ["a field is gone", "a field is called otherwise", "a field has another type", "a call is gone"],
)
def test_what_breaks_callers_is_refused(tmp_path: Path, change: str) -> None:
    done = buf_lint.breaking(released.RELEASED, image=changed(tmp_path, change))
    assert done.returncode == 100, done.stderr
    assert "satreel/rounds/v1/rounds" in done.stdout


@pytest.mark.parametrize("change", ["a field is new", ""])
def test_what_adds_to_it_is_not(tmp_path: Path, change: str) -> None:
    done = buf_lint.breaking(released.RELEASED, image=changed(tmp_path, change))
    assert (done.returncode, done.stdout) == (0, "")


def test_a_release_raises_the_version_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, kept = tmp_path / "pyproject.toml", tmp_path / "released.binpb"
    project.write_text('name = "satreel-protos"\n[project]\nversion = "1.4.0"\n')
    kept.write_bytes(b"older")
    monkeypatch.setattr(released, "PROJECT", project)
    monkeypatch.setattr(released, "RELEASED", kept)
    assert released.has_changed()
    assert released.release() == released.version() == "1.5.0"
    assert not released.has_changed()
