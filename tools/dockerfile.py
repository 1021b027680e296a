"""The Dockerfile's steps without a container engine: `python -m tools.dockerfile [SERVICE ...]`.

Its instructions are carried out in a folder, into which its absolute paths are moved; RUN steps run in a
shell of this machine. What comes out is what an image holds beside its base, so each program is then asked
for `--help` by the image's own command, with nothing else in its environment. Not shown by that: the base
image, its user, and that layers are built apart.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from topology.parts import GATEWAY, SERVICES

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "Dockerfile"
# Folders that its steps make; with them goes everything that they do.
FOLDERS = ("build", "tools", "venv", "source", "app")
# Stages that are of one service, the last with them; the others are made once for all.
OF_A_SERVICE = ("code", "")
_MOVED = re.compile(rf"(?:(?<![\w.}}/-])|(?<=\\n))/(?=(?:{'|'.join(FOLDERS)})\b)")
RUN_S, HELP_S = 900, 60


class StepFailed(Exception):  # noqa: N818 - says which
    """A step ended with an error; its text has the step and what it said."""


@dataclass(frozen=True)
class Stage:
    """Of a Dockerfile; `base` may be an earlier one. The last has no name."""

    name: str
    base: str
    steps: list[tuple[str, str]]


def stages(text: str) -> list[Stage]:
    """In their order."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found: list[Stage] = []
    for line in lines.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(name, base, []))
        elif instruction and found:
            found[-1].steps.append((instruction, rest))
    return found


class Build:
    """Everything below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.service = folder, ""
        self._here = folder
        # Where each stage has ended, for those that begin with it.
        self._ends: dict[str, Path] = {}

    def stage(self, stage: Stage) -> None:
        """Carries out its instructions. Raises StepFailed."""
        self._here = self._ends.get(stage.base, self.folder)
        for instruction, rest in stage.steps:
            if instruction == "WORKDIR":
                self._here = Path(self._moved(rest))
                self._here.mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                self._copy(rest)
            elif instruction == "RUN":
                self._run(rest)
        self._ends[stage.name] = self._here

    def of(self, service: str) -> None:
        """From here on it is this service's image."""
        self.service = service
        for gone in ("app", "source"):
            shutil.rmtree(self.folder / gone, ignore_errors=True)

    def _moved(self, text: str) -> str:
        return _MOVED.sub(f"{self.folder}/", text)

    def _copy(self, rest: str) -> None:
        *words, target = rest.split()
        another = words[0].startswith("--from=")
        for word in words[1:] if another else words:
            source = Path(self._moved(word)) if another else ROOT / word
            place = self._here / self._moved(target)
            if source == place:
                continue
            if target.endswith(("/", ".")) and source.is_file():
                place = place / source.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, place, dirs_exist_ok=True, symlinks=True, ignore=ignored)
            else:
                shutil.copy2(source, place)

    def _run(self, command: str) -> None:
        python = str(Path(sys.base_prefix) / "bin")
        environment = {**os.environ, "SERVICE": self.service, "PATH": f"{python}:{os.environ['PATH']}"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            ["/bin/sh", "-c", self._moved(command)],
            cwd=self._here, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StepFailed(f"{command}\n{done.stdout[-500:]}{done.stderr[-1500:]}")

    def help(self) -> str:
        """What its program says of itself, started as the image starts it. Raises StepFailed."""
        environment = {"PATH": f"{self.folder / 'venv' / 'bin'}:/usr/bin:/bin", "HOME": str(self.folder)}
        done = subprocess.run(
            [self.folder / "app" / "start", "--help"],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=HELP_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise StepFailed(f"{self.service} --help\n{done.stderr[-1500:]}")
        return done.stdout


def main(services: list[str]) -> int:
    """The exit status; says what each image holds."""
    found = stages(DOCKERFILE.read_text())
    once = [stage for stage in found if stage.name not in OF_A_SERVICE]
    with tempfile.TemporaryDirectory(prefix="image-") as scratch:
        build = Build(Path(scratch))
        try:
            for stage in once:
                build.stage(stage)
                print(f"stage {stage.name}", flush=True)
            for service in services:
                build.of(service)
                for stage in found:
                    if stage not in once:
                        build.stage(stage)
                said = build.help()
                holds = ", ".join(sorted(path.name for path in (build.folder / "app").iterdir()))
                print(f"{service}: {said.count('SATREEL_')} settings; /app holds {holds}", flush=True)
        except StepFailed as problem:
            print(problem, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [*SERVICES, GATEWAY]))
