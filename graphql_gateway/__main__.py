"""Starts the gateway: one process, or the parent of several."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from graphql_gateway import process, schema, workers
from graphql_gateway.config import GatewaySettings
from mesh import config
from mesh.runtime import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m graphql_gateway", add_help=False)
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="DOMAIN",
        choices=[domain.name for domain in schema.DOMAINS],
        help="Serve these domains alone, as a subgraph: %(choices)s.",
    )
    parser.add_argument("-h", "--help", action="store_true", help="Tell this, and all settings.")
    # Of one of several processes; the parent gives it.
    parser.add_argument("--place", nargs=2, type=int, help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args(sys.argv[1:])
    if given.help:
        sys.stdout.write(f"{parser.format_help()}\n{config.describe(GatewaySettings)}")
        raise SystemExit
    place = process.Place(*given.place) if given.place else None
    if place is None and config.load(GatewaySettings, rest).is_parent:
        run(
            GatewaySettings,
            partial(workers.main, arguments=["--only", *given.only] if given.only else []),
            rest,
        )
    else:
        run(GatewaySettings, partial(process.main, only=given.only, place=place), rest)
