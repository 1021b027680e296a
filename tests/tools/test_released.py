"""What would break programs built with the last release is refused; what adds to it is not."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

from tools import buf_lint, protos_wheel, released
from topology.parts import SERVICES


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


def test_the_wheel_is_typed_documented_and_no_more_than_contracts(tmp_path: Path) -> None:
    made = protos_wheel.build(tmp_path)
    with zipfile.ZipFile(made) as wheel:
        names = set(wheel.namelist())
        told = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert {f"satreel/{name}/v1/{name}_service_pb2_grpc.pyi" for name in SERVICES} <= names
    assert {"satreel/py.typed", "buf/py.typed", "satreel/calling.py"} <= names
    assert not [name for name in names if "journal" in name or name.endswith(".pyc")]
    version = released.version() + ("+unreleased" if released.has_changed() else "")
    assert f"\nVersion: {version}\n" in told
    needed = [line.partition(": ")[2] for line in told.splitlines() if line.startswith("Requires-Dist")]
    assert all(">=" in line and "<" in line for line in needed if "extra ==" not in line)
    assert "# satreel-protos" in told
    assert protos_wheel.build(tmp_path / "again").read_bytes() == made.read_bytes()
