"""Settings of the AITubo stand-in."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class AituboSettings(BaseSettings):
    """AITubo's HTTP job protocol on this machine. Each setting is also SATREEL_SANDBOX_AITUBO_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="SATREEL_SANDBOX_AITUBO_", cli_prog_name="python -m sandbox.aitubo", cli_kebab_case=True
    )

    key: SecretStr = Field(description="the bearer key that clients must send")
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=7120, ge=0, le=65535, description="port to listen on; 0: any free one, printed")
    data_dir: Path = Field(default=Path(".satreel/aitubo"), description="folder of pictures and films")
    film_seconds: float = Field(default=2.0, gt=0, le=60, description="length of a film, in seconds")
    workers: int = Field(default=1, ge=1, le=16, description="films rendered at a time")
    niceness: int = Field(default=10, ge=0, le=19, description="how far rendering steps back for others")
    queue_max: int = Field(default=64, ge=1, description="jobs that may wait; more get 429")
    jobs_max: int = Field(default=500, ge=1, description="jobs remembered; the oldest done ones go first")
