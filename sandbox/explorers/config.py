"""Settings of the WhatsOnChain and ARC stand-ins."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ExplorersSettings(BaseSettings):
    """WhatsOnChain and ARC on this machine. Each setting is also SATREEL_SANDBOX_EXPLORERS_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="SATREEL_SANDBOX_EXPLORERS_",
        cli_prog_name="python -m sandbox.explorers",
        cli_kebab_case=True,
    )

    node_url: SecretStr = Field(description="the node's JSON-RPC address: http://user:password@host:port")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=7122, ge=0, le=65535, description="port to listen on; 0: any free one, printed")
    network: str = Field(
        default="regtest", pattern="^[a-z]+$", description="the network's name in WhatsOnChain's addresses"
    )
    woc_key: SecretStr = Field(
        default=SecretStr(""),
        description="the woc-api-key that lifts the limit; another is refused; empty: any does",
    )
    arc_key: SecretStr = Field(
        default=SecretStr(""), description="the bearer key that ARC asks for; empty: it asks for none"
    )
    fee_sats_per_kb: int = Field(default=100, ge=1, description="ARC's fee policy")
    poll_s: float = Field(default=0.25, gt=0, le=60, description="how often the node is asked, in seconds")
    callback_pause_s: float = Field(
        default=0.1, gt=0, le=60, description="pause before the second try, doubled for each further one"
    )
    seed: int | None = Field(default=None, description="for faults of a probability that can be repeated")
