"""promtool and Prometheus, out of Debian's package: fetched by checksum into .satreel/, never installed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
VERSION = "2.42.0+ds-5+deb12u1"
SHA256 = {
    "promtool": "14d9c8acdc5d1321dc2092400111c586f09ac350f23f2383d1679b2bf256e583",
    "prometheus": "814f078f68af9ad7b644fd25299211399c8f19ad9adf8b0a1b86a3bd9755baa0",
}
FOLDER = ROOT / ".satreel" / "bin" / f"prometheus-{VERSION.partition('+')[0]}"
RULES = ROOT / "k8s" / "observability"
FETCH_S = 120


class Missing(Exception):  # noqa: N818 - says what is the matter
    """promtool cannot be had here."""


def promtool() -> Path:
    """The checker of rules. Raises Missing: no Debian, no network, another version."""
    return _fetched("promtool")


def prometheus() -> Path:
    """Prometheus itself. Raises Missing, as `promtool`."""
    return _fetched("prometheus")


def _fetched(name: str) -> Path:
    """One of the two programs of the package; fetched on first use."""
    program = FOLDER / name
    if program.is_file() and _sha256(program) == SHA256[name]:
        return program
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is needed to fetch {name} {VERSION}")
    with tempfile.TemporaryDirectory() as scratch:
        _run(["apt-get", "--option", "Acquire::Retries=3", "download", f"prometheus={VERSION}"], scratch)
        package = next(Path(scratch).glob("*.deb"), None)
        if package is None:
            raise Missing(f"apt-get did not fetch prometheus {VERSION}")
        _run(["dpkg-deb", "-x", str(package), "unpacked"], scratch)
        found = Path(scratch) / "unpacked" / "usr" / "bin" / name
        if _sha256(found) != SHA256[name]:
            raise Missing(f"{name} of prometheus {VERSION} does not have the expected checksum: not used")
        FOLDER.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(".fresh")
        shutil.copy2(found, fresh)
        fresh.rename(program)
    return program


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"{' '.join(command)}: not over within {FETCH_S} s") from None
    if done.returncode:
        raise Missing(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")


def main() -> int:
    """Checks the rules and runs their tests; gives the exit status."""
    try:
        program = promtool()
    except Missing as problem:
        print(problem, file=sys.stderr)
        return 1
    with tempfile.NamedTemporaryFile("w", dir=RULES, suffix=".yaml") as configuration:
        configuration.write(without_kubernetes((RULES / "prometheus.yaml").read_text()))
        configuration.flush()
        for arguments in (
            ["check", "config", configuration.name],
            ["test", "rules", "rules.test.yaml"],
        ):
            if status := subprocess.run([program, *arguments], cwd=RULES, check=False).returncode:
                return status
    return 0


def without_kubernetes(configuration: str) -> str:
    """The same with a fixed target: Debian's promtool is built without Kubernetes."""
    read = yaml.safe_load(configuration)
    for job in read["scrape_configs"]:
        if job.pop("kubernetes_sd_configs", None):
            job["static_configs"] = [{"targets": ["pod"]}]
    return yaml.safe_dump(read)


if __name__ == "__main__":
    sys.exit(main())
