"""Settings of the viewer."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ViewerSettings(BaseSettings):
    """Traces and metrics of a mesh on this machine. Each setting is also SATREEL_VIEWER_<NAME>.

    It listens on loopback only: what it shows is nobody else's.
    """

    model_config = SettingsConfigDict(
        env_prefix="SATREEL_VIEWER_", cli_prog_name="python -m viewer", cli_kebab_case=True
    )

    http_port: int = Field(8090, ge=0, le=65535, description="port of the pages; 0: any free one, printed")
    otlp_port: int = Field(4317, ge=0, le=65535, description="port that takes OTLP/gRPC; 0: any free one")
    file: Path = Field(Path(".satreel/viewer.sqlite"), description="where it keeps what it got")
    spans_max: int = Field(200_000, ge=1_000, description="spans kept; the oldest traces go")
    points_max: int = Field(300_000, ge=1_000, description="points of metrics kept; the oldest go")
    bytes_max: int = Field(256 << 20, ge=4 << 20, description="size of the file; the oldest go")
