"""Settings of the market."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mesh.config import Address, MeshSettings


class MarketSettings(MeshSettings, env_prefix="SATREEL_MARKET_"):
    """What the market needs to know beside the shared settings. Prices and fees are rules."""

    service: ClassVar[str] = "market"

    listen: Address = Field("127.0.0.1:7105", description="Address the gRPC server listens on, HOST:PORT.")
