"""What the measured servers need around them: a folder, certificates as the launcher makes them, Valkey."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mesh import tls
from mesh.authority import Authority
from mesh.clock import SystemClock
from mesh.tokens import UserTokenSigner
from sandbox.process import free_port
from sandbox.valkey import running_valkey

LEDGER = "ledger"
# Who the bench calls as; each has a certificate of its own.
CALLERS = ("market", "chain", "content", "rounds", "gateway", "launcher")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run takes place."""

    folder: Path
    tls_dir: Path
    signer: UserTokenSigner
    environment: dict[str, str]


@asynccontextmanager
async def running_site() -> AsyncIterator[Site]:
    """A temporary folder with certificates, and a Valkey, for the length of a `with` block."""
    with tempfile.TemporaryDirectory(prefix="satreel-bench-") as name:
        folder = Path(name)
        tls_dir = folder / "tls"
        authority = Authority.open(tls_dir)
        for service in (LEDGER, *CALLERS):
            authority.issue(service)
        private_key, public_key = tls.make_user_token_keys(tls_dir)
        async with running_valkey(folder / "valkey", free_port()) as valkey:
            environment = {
                **_inherited(),
                "SATREEL_REDIS_URL": valkey.url,
                "SATREEL_TLS_DIR": str(tls_dir),
                "SATREEL_USER_TOKEN_KEY": str(public_key),
                "SATREEL_DRAIN_S": "0.2",
            }
            signer = UserTokenSigner(private_key.read_bytes(), SystemClock())
            yield Site(folder, tls_dir, signer, environment)


def _inherited() -> dict[str, str]:
    """This process's environment without settings of Satreel: what is measured has its defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SATREEL_")}
