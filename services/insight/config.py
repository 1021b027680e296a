"""Settings of insight."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mesh.config import Address, MeshSettings


class InsightSettings(MeshSettings, env_prefix="SATREEL_INSIGHT_"):
    """What insight needs to know: only where it listens."""

    service: ClassVar[str] = "insight"

    listen: Address = Field("127.0.0.1:7107", description="Address the gRPC server listens on, HOST:PORT.")
