"""Certificates that calls are made with are renewed as files; connections made before are to end in time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from mesh import tls

LOOK_S = 1.0
# Connections made so long ago end even if nothing was renewed here: the peer's certificate may have been.
CONNECTION_S = 3600.0


class Renewal:
    """Says when connections are to be made anew with a part's certificate."""

    def __init__(self, folder: Path, part: str) -> None:
        self._folder = folder
        self._part = part
        self._files = tuple(folder / name for name in tls.file_names(part))
        self._seen = self._stamps()
        self._look_at_s = self._made_at_s = time.monotonic()

    def is_due(self) -> bool:
        """True once for each renewal. The files are looked at every second at most, while this is asked."""
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + LOOK_S
        try:
            seen = self._stamps()
            if seen == self._seen and now_s - self._made_at_s < CONNECTION_S:
                return False
            tls.require_pair(self._folder, self._part)
        except (OSError, ValueError):
            # The key is there and its certificate is not yet, or the other way round.
            return False
        self._seen, self._made_at_s = seen, now_s
        return True

    async def pause(self) -> None:
        """Until it is time to look again."""
        await asyncio.sleep(LOOK_S)

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        found = [file.stat() for file in self._files]
        return tuple((one.st_mtime_ns, one.st_ino) for one in found)
