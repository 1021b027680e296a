"""What the README lists is what the code says."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from satreel.content.v1 import content_pb2

from mesh.config import MeshSettings, variable_name
from mesh.errors import Failure
from services.content.config import ContentSettings
from services.content.domain import failures
from services.content.domain.memes import BY_ADMINISTRATOR, QUALITY_TOO_LOW, RENDER_FAILED

README = (Path(__file__).parents[2] / "services" / "content" / "README.md").read_text()


def test_all_own_settings_are_listed_with_their_defaults() -> None:
    names = (set(ContentSettings.model_fields) - set(MeshSettings.model_fields)) | {"listen"}
    for name in names:
        default = ContentSettings.model_fields[name].default
        shown = "" if isinstance(default, SecretStr) or default == "" else f" `{default}`"
        assert f"| `{variable_name(ContentSettings, name)}` |{shown} |" in README, name


def test_every_reason_stands_in_the_contract() -> None:
    own = [
        found for found in vars(failures).values() if getattr(found, "__module__", "") == failures.__name__
    ]
    raised = {failure.reason for failure in own if issubclass(failure, Failure)}
    used = raised | {BY_ADMINISTRATOR, QUALITY_TOO_LOW, RENDER_FAILED, "ID_REUSED", "PAGE_TOKEN_INVALID"}
    contract = {
        value.name.removeprefix("ERROR_REASON_") for value in content_pb2.ErrorReason.DESCRIPTOR.values
    }
    assert used == contract - {"UNSPECIFIED"}
