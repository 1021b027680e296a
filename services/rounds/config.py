"""Settings of rounds."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mesh.config import Address, MeshSettings
from services.rounds.domain.values import NS_PER_S, Timing


class RoundsSettings(MeshSettings, env_prefix="SATREEL_ROUNDS_"):
    """What rounds needs to know. Rates and shares are no settings: they are versioned in domain/values.py."""

    service: ClassVar[str] = "rounds"

    listen: Address = Field("127.0.0.1:7103", description="Address the gRPC server listens on, HOST:PORT.")
    length_s: float = Field(600, gt=0, le=86_400, description="How long a round lasts.")
    grace_s: float = Field(30, ge=0, le=600, description="How long late reports are awaited after the lock.")
    gap_s: float = Field(5, ge=0, le=600, description="Pause after a round before a block may open the next.")
    board_interval_s: float = Field(
        1.0, ge=1.0, le=60, description="Least time between two leaderboards on the feed."
    )

    @property
    def timing(self) -> Timing:
        """The lengths as the domain wants them."""
        return Timing(
            length_ns=round(self.length_s * NS_PER_S),
            grace_ns=round(self.grace_s * NS_PER_S),
            gap_ns=round(self.gap_s * NS_PER_S),
        )
