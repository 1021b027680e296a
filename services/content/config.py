"""Settings of content, `SATREEL_CONTENT_…`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr

from mesh.config import Address, MeshSettings

MIB = 1024 * 1024


class ContentSettings(MeshSettings, env_prefix="SATREEL_CONTENT_"):
    """What content needs to know."""

    service: ClassVar[str] = "content"
    listen: Address = Field("127.0.0.1:7102", description="Address the gRPC server listens on, HOST:PORT.")

    files_url: str = Field(
        "",
        description="Object store of pictures, films, posters: s3://BUCKET/PREFIX (credentials from AWS_…); "
        "empty: the folder files/ under the data folder.",
    )
    media_listen: Address = Field(
        "127.0.0.1:7112", description="Where AITubo fetches pictures by signed links, HOST:PORT."
    )
    media_url: str = Field(
        "", description="How AITubo reaches that address, https://HOST; empty: http://<media_listen>."
    )

    aitubo_url: str = Field("https://creator.aitubo.ai", description="AITubo's address.")
    aitubo_key: SecretStr = Field(SecretStr(""), description="AITubo's key. Without one nothing is rendered.")
    aitubo_template: dict[str, object] = Field(
        {}, description="JSON object with the template parameters that are sent with every order."
    )
    aitubo_call_s: float = Field(20.0, gt=0, le=120, description="Time for one call to AITubo.")
    film_bytes_max: int = Field(100_000_000, gt=0, description="Largest film that is fetched.")
    download_s: float = Field(90.0, gt=0, le=600, description="Time to fetch a film.")
    poll_s: float = Field(2.0, ge=1, le=5, description="Time between two questions about a render job.")
    render_s: float = Field(600.0, gt=0, description="Time a render job may take before it is given up.")
    versions_max: int = Field(2, ge=1, le=10, description="Attempts to have a film made, first one included.")
    orders_max: int = Field(
        3, ge=1, le=20, description="Orders sent for one version whose job was never heard of."
    )

    instance: str = Field(
        "content-1",
        pattern="^[a-z0-9][a-z0-9.-]{0,62}$",
        description="Name of this instance, another for each that shares records; kept over restarts.",
    )
    workers: int = Field(10, ge=1, le=100, description="Background steps done at a time.")
    sweep_s: float = Field(
        5.0, gt=0, le=300, description="How often the records are searched for forgotten work."
    )
    processes_max: int = Field(2, ge=1, le=32, description="Decoding processes at a time, of each kind.")
    picture_memory_bytes: int = Field(
        1024 * MIB, ge=512 * MIB, description="Address space of a process that decodes a picture."
    )
    picture_s: int = Field(20, ge=1, le=50, description="Time to decode a picture.")
    film_memory_bytes: int = Field(
        2048 * MIB, ge=1024 * MIB, description="Address space of a process that checks a film."
    )
    film_s: int = Field(60, ge=1, le=600, description="Time to check a film.")

    @property
    def step_s(self) -> float:
        """The longest that a background step may take."""
        return max(self.download_s, self.film_s, 3 * self.aitubo_call_s) + 20.0

    @property
    def incoming_dir(self) -> Path:
        """Where uploads and films in work lie."""
        return self.data_dir / "content" / "incoming"

    @property
    def lock_path(self) -> Path:
        """Held by the one process that goes by this instance's name."""
        return self.data_dir / "content" / f"{self.instance}.lock"

    @property
    def link_key_path(self) -> Path:
        """The key of signed links."""
        return self.data_dir / "content" / "links.key"
