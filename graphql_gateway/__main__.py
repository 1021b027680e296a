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
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--only", nargs="+", default=[], choices=[domain.name for domain in schema.DOMAINS])
    # Of one of several processes; the parent gives it.
    parser.add_argument("--place", nargs=2, type=int, help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args(sys.argv[1:])
    place = process.Place(*given.place) if given.place else None
    if place is None and config.load(GatewaySettings, rest).is_parent:
        run(
            GatewaySettings,
            partial(workers.main, arguments=["--only", *given.only] if given.only else []),
            rest,
        )
    else:
        run(GatewaySettings, partial(process.main, only=given.only, place=place), rest)
