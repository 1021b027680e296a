"""Settings of identity."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from mesh.config import Address, MeshSettings


class IdentitySettings(MeshSettings, env_prefix="SATREEL_IDENTITY_"):
    """What identity needs to know beside the settings that all services share."""

    service: ClassVar[str] = "identity"

    listen: Address = Field("127.0.0.1:7101", description="Address the gRPC server listens on, HOST:PORT.")
    site: str = Field(
        "satreel.local", min_length=1, max_length=253, description="Domain named in the texts people sign."
    )
    network: Literal["main", "test", "regtest"] = Field(
        "regtest", description="Bitcoin network whose addresses log in and are paid."
    )
    admin_addresses: frozenset[str] = Field(
        frozenset(), description="Wallet addresses of administrators: a JSON list."
    )
    token_key: Path | None = Field(
        None,
        description="Private key (PEM, Ed25519) that signs user tokens; "
        "none: user-token.key beside SATREEL_USER_TOKEN_KEY.",
    )
    token_lifetime_s: int = Field(60, ge=10, le=600, description="Lifetime of a signed user token.")
    log_ins_per_address: int = Field(
        10, gt=0, description="Log-ins and proofs per minute for one wallet address from one place."
    )
    log_ins_per_client: int = Field(60, gt=0, description="Log-ins per minute from one place.")
    challenges_per_address: int = Field(
        30, gt=0, description="Challenges per minute for one wallet address from one place."
    )
    challenges_per_client: int = Field(180, gt=0, description="Challenges per minute from one place.")
