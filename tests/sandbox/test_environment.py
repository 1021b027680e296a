"""What a process inherits: shared settings and its own, never another's keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.environment import inherited
from sandbox.process import LOG_TAIL_LINES, Child, readable

GIVEN = {
    "PATH_OF_MINE": "/bin",
    "SATREEL_NODE_URL": "http://u:secret@node",
    "SATREEL_AITUBO_KEY": "secret",
    "SATREEL_REDIS_URL": "redis://:secret@redis",
    "SATREEL_SANDBOX_HTTP_PORT": "1",
    "SATREEL_CHAIN_SEED": "secret of chain",
    "SATREEL_CONTENT_FILES_URL": "s3://bucket",
    "AWS_SECRET_ACCESS_KEY": "secret of content",
    "SATREEL_OTLP_ENDPOINT": "http://collector",
    "SATREEL_AEROSPIKE_HOSTS": "records:3000",
}
SHARED = {"PATH_OF_MINE", "SATREEL_OTLP_ENDPOINT", "SATREEL_AEROSPIKE_HOSTS"}


@pytest.mark.parametrize(
    ("part", "own"),
    [
        ("chain", {"SATREEL_CHAIN_SEED"}),
        ("content", {"SATREEL_CONTENT_FILES_URL", "AWS_SECRET_ACCESS_KEY"}),
        ("ledger", set()),
        ("gateway", set()),
    ],
)
def test_a_service_inherits_shared_settings_and_its_own(
    part: str, own: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    assert {name for name in inherited(part) if name in GIVEN} == SHARED | own


def test_programs_of_others_inherit_no_setting_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    assert {name for name in inherited() if name in GIVEN} == {"PATH_OF_MINE"}


def test_log_lines_are_shown_readable_and_whole(tmp_path: Path) -> None:
    entry = {
        "event": "node away",
        "level": "warning",
        "timestamp": "2026-01-02T03:04:05.678Z",
        "service": "chain",
        "logger": "services.chain",
        "retry_s": 2,
    }
    assert readable(json.dumps(entry)) == "03:04:05 warning node away retry_s=2"
    assert readable(json.dumps({**entry, "exception": "Boom"})).endswith("retry_s=2\nBoom")
    for other in ("plain words", "{cut", "[1]", '{"no": "event"}', "7"):
        assert readable(other) == other
    log = tmp_path / "chain.log"
    log.write_text("\n".join(json.dumps({**entry, "retry_s": number}) for number in range(10_000)))
    tail = Child("chain", None, log).log_tail().splitlines()  # type: ignore[arg-type] # only its log is read
    assert len(tail) == LOG_TAIL_LINES
    assert tail[-1] == "03:04:05 warning node away retry_s=9999"
