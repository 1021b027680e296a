"""Settings of the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from mesh.config import Address, MeshSettings


class LedgerSettings(MeshSettings, env_prefix="SATREEL_LEDGER_"):
    """What the ledger needs to know. Rates and shares are no settings: they come with each round."""

    service: ClassVar[str] = "ledger"

    listen: Address = Field("127.0.0.1:7104", description="Address the gRPC server listens on, HOST:PORT.")
    queue_max: int = Field(
        10_000, gt=0, le=100_000, description="Commands that may wait; more are refused with QUEUE_FULL."
    )
    lease_ttl_s: float = Field(
        5.0, gt=0.5, le=60, description="A leader that does not renew for so long is replaced."
    )
    session_silence_s: int = Field(
        10, gt=0, le=600, description="A session that no gateway reports for so long is closed."
    )
    read_staleness_max_s: float = Field(
        5.0, gt=0, le=600, description="A standby answers reads while its state is known to be no older."
    )
    id_horizon_days: int = Field(
        30, gt=0, le=3_660, description="Ids older than this are refused, and forgotten: they cost memory."
    )
    snapshot_every: int = Field(
        200_000, ge=0, description="Transfers and commands between snapshots of the state; 0: none are taken."
    )
    archive_url: str = Field(
        "", description="Where old journal records go, s3://BUCKET/PREFIX; else a folder in the data folder."
    )

    @property
    def archive_dir(self) -> Path:
        """Where old journal records go unless a URL is set."""
        return self.data_dir / "archive"
