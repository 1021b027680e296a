"""How a picture looks, in few bits, so that the same picture in another file is known again.

Two hashes that survive re-encoding and scaling: a DCT hash of 64 bits, by which candidates are found, and a
difference hash of 256 bits, fine enough to tell apart one template with two captions. Both must be near.
"""

from __future__ import annotations

from dataclasses import dataclass

WAVE_BITS = 64
# Measured: re-encodings (JPEG 40..95, GIF, 1.5 times the size) differ by up to 2 and 8 bits, one template
# with another caption by 2 and 22 or more, different memes by 18 and 139 or more.
WAVE_DISTANCE_MAX = 6
EDGE_DISTANCE_MAX = 12
# One more band than bits may differ: at least one band is then equal.
BANDS = WAVE_DISTANCE_MAX + 1


@dataclass(frozen=True, slots=True)
class Look:
    """The two hashes, in hex."""

    wave: str
    edges: str

    def resembles(self, other: Look) -> bool:
        """Whether both show the same picture."""
        return (
            _distance(self.wave, other.wave) <= WAVE_DISTANCE_MAX
            and _distance(self.edges, other.edges) <= EDGE_DISTANCE_MAX
        )

    def bands(self) -> tuple[str, ...]:
        """The DCT hash in pieces; two looks that resemble each other share at least one."""
        bits = int(self.wave, 16)
        pieces = []
        for number in range(BANDS):
            start, end = WAVE_BITS * number // BANDS, WAVE_BITS * (number + 1) // BANDS
            pieces.append(f"{number}:{bits >> start & (1 << end - start) - 1:x}")
        return tuple(pieces)


def _distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()
