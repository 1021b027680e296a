"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import pytest
from pydantic import Field, SecretStr, ValidationError, model_validator

from mesh import config
from mesh.config import Address, MeshSettings


class TeaSettings(MeshSettings, env_prefix="SATREEL_TEA_"):
    """Settings of a service that makes tea."""

    service: ClassVar[str] = "tea"
    listen: Address = "127.0.0.1:7999"
    steep_s: float = Field(3.0, gt=0, description="Seconds the leaves stay in.")


@pytest.fixture(autouse=True)
def _only_our_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("SATREEL_"):
            monkeypatch.delenv(name)


def test_own_settings_have_the_services_prefix_shared_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SATREEL_TEA_LISTEN", "127.0.0.1:1234")
    monkeypatch.setenv("SATREEL_TEA_STEEP_S", "4.5")
    monkeypatch.setenv("SATREEL_PEERS", '{"ledger": "127.0.0.1:7104,127.0.0.1:7204"}')
    monkeypatch.setenv("SATREEL_DATA_DIR", "/data")
    monkeypatch.setenv("SATREEL_TLS_DIR", "")
    settings = config.load(TeaSettings, [])
    assert (settings.listen, settings.steep_s) == ("127.0.0.1:1234", 4.5)
    assert settings.peers == {"ledger": "127.0.0.1:7104,127.0.0.1:7204"}
    assert settings.records_path == Path("/data/records/tea.sqlite")
    assert settings.files_dir == Path("/data/files")
    assert settings.tls_dir is None


def test_defaults_and_keyword_arguments() -> None:
    assert config.load(TeaSettings, []).listen == "127.0.0.1:7999"
    assert TeaSettings(drain_s=0, peers={"a": "b:1"}).peers == {"a": "b:1"}
    assert TeaSettings().message_bytes_max < 10 * 1024 * 1024


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SATREEL_TEA_LISTEN", "nowhere", "SATREEL_TEA_LISTEN: Value error, must be HOST:PORT"),
        ("SATREEL_TEA_LISTEN", "a:70000", "must be HOST:PORT"),
        (
            "SATREEL_TEA_STEEP_S",
            "-1",
            "SATREEL_TEA_STEEP_S: Input should be greater than 0 (Seconds the leaves",
        ),
        ("SATREEL_PEERS", '{"ledger": "nowhere"}', "SATREEL_PEERS[ledger]: Value error, must be HOST:PORT"),
        ("SATREEL_PEERS", "{", 'error parsing value for field "peers"'),
        ("SATREEL_LOG_LEVEL", "loud", "SATREEL_LOG_LEVEL: Input should be 'debug', 'info'"),
        ("SATREEL_MESSAGE_BYTES_MAX", "20000000", "SATREEL_MESSAGE_BYTES_MAX: Input should be less than"),
    ],
)
def test_wrong_settings_are_told_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        config.load(TeaSettings, [])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


class SecretSettings(TeaSettings, env_prefix="SATREEL_TEA_"):
    """Settings that do not fit each other, one of them a secret."""

    sugar: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _check(self) -> Self:
        raise ValueError("sugar does not go with this tea")


def test_settings_that_do_not_fit_each_other_are_told_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SATREEL_TEA_SUGAR", "three lumps")
    with pytest.raises(SystemExit, match="2"):
        config.load(SecretSettings, [])
    assert "sugar does not go with this tea" in capsys.readouterr().err
    with pytest.raises(ValidationError) as problem:
        SecretSettings()
    assert "lumps" not in str(problem.value)


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        config.load(TeaSettings, ["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert "SATREEL_TEA_STEEP_S = 3.0\n      Seconds the leaves stay in." in told
    assert "SATREEL_TEA_LISTEN = 127.0.0.1:7999" in told
    assert "SATREEL_REDIS_URL = redis://127.0.0.1:6379/0" in told


def test_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        config.load(TeaSettings, ["--port=1"])
    assert ended.value.code == 2
    assert "--help" in capsys.readouterr().err
