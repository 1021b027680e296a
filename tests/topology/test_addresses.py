"""The command for the edge's address lists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from topology import addresses, edge


def test_lists_are_set_shown_and_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    denied = ["--deny", "203.0.113.7", "--deny", "2001:db8::/32"]
    assert addresses.main([str(tmp_path), *denied]) == 0
    assert capsys.readouterr().out == "allowed: everybody\ndenied: 203.0.113.7/32, 2001:db8::/32\n"
    # Both anew.
    assert addresses.main([str(tmp_path), "--allow", "198.51.100.0/24"]) == 0
    assert addresses.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "allowed: 198.51.100.0/24\ndenied: nobody\n" * 2
    assert addresses.main([str(tmp_path), "--everybody"]) == 0
    assert (tmp_path / edge.ADDRESSES_FILE).read_text() == edge.resource()


@pytest.mark.parametrize("told", [["--deny", "203.0.113.700"], []], ids=["no address", "no lists"])
def test_what_cannot_be_is_told_and_changes_nothing(tmp_path: Path, told: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        addresses.main([str(tmp_path), *told])
    assert refused.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_it_says_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "topology.addresses", str(tmp_path), "--everybody"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("allowed: everybody\ndenied: nobody\n", "")
