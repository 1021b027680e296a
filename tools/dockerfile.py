"""The Dockerfile's steps without a container engine: `python -m tools.dockerfile [SERVICE ...]`.

Its instructions are carried out in a folder, into which its absolute paths are moved; RUN steps run in a
shell of this machine. What comes out is what an image holds beside its base, so each program is then asked
for `--help` by the image's own command, with nothing else in its environment. Not shown by that: the base
image, its user, and that layers are built apart.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "Dockerfile"
# Folders that its steps make; with them goes everything that they do.
FOLDERS = ("build", "tools", "venv", "source", "app")
# Stages that are of one service; the others are made once for all.
OF_A_SERVICE = ("code",)
_MOVED = re.compile(rf"(?<![\w.}}/-])/(?=(?:{'|'.join(FOLDERS)})\b)")
RUN_S, HELP_S = 900, 60


class StepFailed(Exception):  # noqa: N818 - says which
    """A step ended with an error; its text has the step and what it said."""


def stages(text: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """By name, the instructions of each stage; the last one's name is ""."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    steps = [line.split(None, 1) for line in lines.replace("\\\n", " ").splitlines() if line.strip()]
    name: str | None = None
    found: list[tuple[str, str]] = []
    for instruction, rest in steps:
        if instruction == "FROM":
            if name is not None:
                yield name, found
            _, _, name = rest.partition(" AS ")
            found = []
        elif name is not None:
            found.append((instruction, rest))
    if name is not None:
        yield name, found


class Build:
    """Everything below one folder."""

    def __init__(self, folder: Path, service: str) -> None:
        self.folder, self.service = folder, service
        self._here = folder

    def stage(self, steps: list[tuple[str, str]]) -> None:
        """Carries out its instructions. Raises StepFailed."""
        for instruction, rest in steps:
            if instruction == "WORKDIR":
                self._here = Path(self._moved(rest))
                self._here.mkdir(parents=True, exist_ok=True)
            elif instruction == "COPY":
                self._copy(rest)
            elif instruction == "RUN":
                self._run(rest)

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
    steps = dict(stages(DOCKERFILE.read_text()))
    with tempfile.TemporaryDirectory(prefix="image-") as scratch:
        folder = Path(scratch)
        try:
            for name, its in steps.items():
                if name not in (*OF_A_SERVICE, ""):
                    Build(folder, "").stage(its)
                    print(f"stage {name}")
            for service in services:
                for gone in ("app", "source"):
                    shutil.rmtree(folder / gone, ignore_errors=True)
                build = Build(folder, service)
                for name in (*OF_A_SERVICE, ""):
                    build.stage(steps[name])
                said = build.help()
                holds = ", ".join(sorted(path.name for path in (folder / "app").iterdir()))
                print(f"{service}: {said.count('SATREEL_')} settings; /app holds {holds}")
        except StepFailed as problem:
            print(problem, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or shlex.split("identity content rounds ledger market chain insight gateway")))
