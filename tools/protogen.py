"""Makes gen/ from protos/: Python messages, gRPC stubs, their types, and one descriptor set of all contracts.

`python tools/protogen.py` does nothing when no input changed. Several runs at once are safe: one works, the
others wait, and every file appears whole; files that did not change keep their time stamp, so their caches.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import google.rpc
import grpc_tools
from google.protobuf import descriptor_pb2
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
GEN = ROOT / "gen"
# The contracts, and the small one the tests of mesh/ talk with.
CONTRACTS = ROOT / "protos"
SOURCE_ROOTS = (CONTRACTS, ROOT / "tests" / "mesh" / "protos")
DESCRIPTORS = "descriptors.binpb"
# What errors are made of stands in the set too: who reads it, such as Envoy, can then show them.
ERRORS = ("google/rpc/status.proto", "google/rpc/error_details.proto")
STAMP = ".stamp"
GENERATORS = ("grpcio-tools", "mypy-protobuf", "protobuf", "protovalidate")
PROTO_PATHS = (
    Path(grpc_tools.__path__[0]) / "_proto",
    Path(next(iter(google.rpc.__path__))).parent.parent,  # googleapis-common-protos: google/api, google/rpc
)


def fingerprint() -> str:
    """A digest of everything the output depends on."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for package in GENERATORS:
        digest.update(f"{package}={importlib.metadata.version(package)}\n".encode())
    for root in SOURCE_ROOTS:
        for source in sorted(root.rglob("*.proto")):
            digest.update(f"{source.relative_to(ROOT)}\n".encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()


def write_validate_descriptor(target: Path) -> None:
    """Rebuilds buf/validate/validate.proto, which protovalidate ships only as a compiled descriptor."""
    # There is no public way to it.
    rules = descriptor_pb2.FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary())  # noqa: SLF001
    target.write_bytes(descriptor_pb2.FileDescriptorSet(file=[rules]).SerializeToString())


def run_protoc(*arguments: str) -> None:
    """Runs the protoc that comes with grpcio-tools; its complaints go to our stderr.

    Raises SystemExit when a contract does not compile.
    """
    done = subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=False)
    if done.returncode != 0:
        raise SystemExit("protogen: the contracts do not compile; gen/ stays as it was")


def compile_into(out: Path, validate: Path) -> None:
    """Compiles all contracts into the empty folder `out`."""
    scripts = Path(sys.executable).parent
    paths = [f"-I{path}" for path in (*SOURCE_ROOTS, *PROTO_PATHS) if path.is_dir()]
    sources = {
        root: [str(source.relative_to(root)) for source in sorted(root.rglob("*.proto"))]
        for root in SOURCE_ROOTS
    }
    inputs = [f"--descriptor_set_in={validate}", *paths]
    everything = [name for names in sources.values() for name in names]
    run_protoc(
        *inputs,
        f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
        f"--python_out={out}",
        f"--mypy_out=quiet:{out}",
        "buf/validate/validate.proto",
        f"--grpc_python_out={out}",
        f"--mypy_grpc_out=only_async,quiet:{out}",
        *everything,
    )
    run_protoc(
        *inputs,
        f"--descriptor_set_out={out / DESCRIPTORS}",
        "--include_imports",
        "--include_source_info",
        *sources[CONTRACTS],
        *ERRORS,
    )
    drop_empty_stubs(out)
    for package in out.iterdir():
        if package.is_dir():
            (package / "py.typed").touch()


def drop_empty_stubs(out: Path) -> None:
    """Removes the gRPC modules that protoc writes for files without a service."""
    for module in out.rglob("*_pb2_grpc.py"):
        if "Servicer" not in module.read_text():
            module.unlink()
            module.with_suffix(".pyi").unlink(missing_ok=True)


def publish(fresh: Path, target: Path) -> int:
    """Moves what changed over `target`, file by file, and removes what is gone; answers how many changed."""
    changes = 0
    wanted = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    for name in sorted(wanted):
        old, new = target / name, fresh / name
        if old.is_file() and old.read_bytes() == new.read_bytes():
            continue
        old.parent.mkdir(parents=True, exist_ok=True)
        new.replace(old)
        changes += 1
    stale = [path for package in target.glob("[!.]*/") for path in package.rglob("*_pb2*.py*")]
    for path in stale:
        if path.relative_to(target) not in wanted and path.suffix in {".py", ".pyi"}:
            path.unlink()
            changes += 1
    return changes


@contextmanager
def only_one() -> Iterator[None]:
    """Waits until no other run of this tool works on gen/."""
    with (GEN / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Brings gen/ up to date."""
    GEN.mkdir(exist_ok=True)
    with only_one():
        stamp, wanted = GEN / STAMP, fingerprint()
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        scratch = Path(tempfile.mkdtemp(prefix=".fresh-", dir=GEN))
        try:
            validate, fresh = scratch / "validate.binpb", scratch / "out"
            fresh.mkdir()
            write_validate_descriptor(validate)
            compile_into(fresh, validate)
            changes = publish(fresh, GEN)
        finally:
            shutil.rmtree(scratch)
        stamp.write_text(wanted)
        print(f"protogen: {changes} files changed in gen/")


if __name__ == "__main__":
    main()
