"""The command satreel-verify-round."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession

from mesh.clock import SystemClock
from mesh.errors import Failure
from services.chain.adapters.http import Access, HttpSource
from services.chain.adapters.node import open_node
from services.chain.adapters.whatsonchain.reader import WhatsOnChain
from services.chain.domain.values import Network, Txid
from services.ledger.domain.record_json import RECORD_BYTES_MAX
from verifier.chain import Asked, Source
from verifier.findings import Findings, Unanswered
from verifier.report import report
from verifier.rounds import Export, verify_round

NODE_URL = "SATREEL_NODE_URL"
WHATS_ON_CHAIN = "https://api.whatsonchain.com/v1/bsv/main"
FITS, DOES_NOT_FIT, UNANSWERED = 0, 1, 2
STDIN = "-"

DESCRIPTION = """\
Checks the result of a round that Satreel wrote to the chain: that the record in the transaction is signed, in
a block, and fits itself; with --record that the round's public record, exported by `satreel-ledger export`
or asked for by GraphQL `publicRecord`, is the one that was meant, and that every payout follows from it by
the rules. Nothing is asked of Satreel: only a BSV node with -txindex, which may be anybody's, or
WhatsOnChain.
"""
EPILOG = """\
Exit codes: 0 all that was checked holds; 1 something does not, each is named; 2 it could not be checked.
The format of the record and all checks: docs/ROUND-RECORD.md.
"""


def main() -> None:
    """The program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """The exit code."""
    asked = _parser().parse_args(arguments)
    try:
        export = None if asked.record is None else Export(_read(asked.record), asked.record)
        return asyncio.run(_verify(asked, export))
    except OSError as problem:
        return _tell(f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem))
    except (Unanswered, Failure) as problem:
        return _tell(str(problem))


async def _verify(asked: Namespace, export: Export | None) -> int:
    findings = Findings()
    async with _source(asked) as source:
        wanted = Asked(Txid(asked.txid), Network(asked.network), asked.signer)
        seen = await verify_round(source, wanted, export, asked.user, findings)
    sys.stdout.write(report(findings, seen.proofs, seen.root))
    return FITS if findings.hold else DOES_NOT_FIT


@asynccontextmanager
async def _source(asked: Namespace) -> AsyncIterator[Source]:
    """The source that was named: WhatsOnChain, or a node. Raises Unanswered when none was."""
    node_url = asked.node_url or os.environ.get(NODE_URL, "")
    if asked.whatsonchain:
        access = Access("WhatsOnChain", asked.whatsonchain.rstrip("/"), timeout_s=asked.timeout_s)
        clock = SystemClock()
        async with ClientSession() as session:
            yield WhatsOnChain(HttpSource(session, access, clock), Network(asked.network), clock)
    elif node_url:
        async with open_node(node_url, asked.timeout_s) as node:
            yield node
    else:
        raise Unanswered(f"no source of the chain: give --node-url, {NODE_URL} or --whatsonchain")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="satreel-verify-round",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("txid", metavar="TXID", type=_txid, help="the transaction with the record")
    parser.add_argument("--record", metavar="FILE", help=f"the exported record; {STDIN} is standard input")
    parser.add_argument(
        "--user",
        "--creator",
        metavar="ID",
        type=_user,
        default="",
        help="what this user got, with Merkle proofs",
    )
    parser.add_argument("--signer", metavar="ADDRESS", default="", help="the address that must have signed")
    parser.add_argument(
        "--network", choices=[str(one) for one in Network], default=str(Network.MAIN), help="default: main"
    )
    parser.add_argument(
        "--node-url", metavar="URL", default="", help=f"http://USER:PASSWORD@HOST:PORT; default: {NODE_URL}"
    )
    parser.add_argument(
        "--whatsonchain",
        metavar="URL",
        nargs="?",
        const=WHATS_ON_CHAIN,
        default="",
        help=f"ask WhatsOnChain instead of a node; without URL: {WHATS_ON_CHAIN}",
    )
    parser.add_argument(
        "--timeout-s", metavar="S", type=float, default=10.0, help="how long an answer may take; default: 10"
    )
    return parser


def _txid(text: str) -> str:
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError(text)
    return text


def _user(text: str) -> str:
    """A user's id as it is, or as GraphQL shows it."""
    try:
        kind, _, bare = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return text
    return bare if kind == "User" and bare else text


def _read(name: str) -> bytes:
    """At most one byte more than a record may have."""
    if name == STDIN:
        return sys.stdin.buffer.read(RECORD_BYTES_MAX + 1)
    with Path(name).open("rb") as file:
        return file.read(RECORD_BYTES_MAX + 1)


def _tell(why: str) -> int:
    sys.stderr.write(f"satreel-verify-round: {why}\n")
    return UNANSWERED


if __name__ == "__main__":
    main()
