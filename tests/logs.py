"""What a process has logged, read while it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def entries(log: Path) -> list[dict[str, Any]]:
    """All JSON objects of the log, in order; a line that has not come whole is left for the next look."""
    whole, _, _ = log.read_text(errors="replace").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
