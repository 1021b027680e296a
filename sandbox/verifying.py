"""Runs satreel-verify-round as a stranger would: beside the mesh, with the node and an exported record."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass

VERIFY_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Exit code (0: everything holds) and what was printed."""

    code: int
    text: str


async def verify_round(node_url: str, txid: str, record_json: str, *, user_id: str = "") -> Verdict:
    """Checks the record of a round on regtest. Raises TimeoutError."""
    command = [sys.executable, "-m", "verifier", txid, "--network", "regtest", "--record", "-"]
    if user_id:
        command += ["--user", user_id]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # The address holds a password, which no list of processes should show.
        env=os.environ | {"SATREEL_NODE_URL": node_url},
    )
    try:
        async with asyncio.timeout(VERIFY_S_MAX):
            out, _ = await process.communicate(record_json.encode())
    finally:
        if process.returncode is None:
            process.kill()
    return Verdict(process.returncode or 0, out.decode())
