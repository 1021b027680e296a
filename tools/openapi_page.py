"""Fetches what the page of REST loads, Swagger UI, out of npm's package, into .satreel/openapi-page.

    python tools/openapi_page.py

Safe to repeat: files that are there and right are kept.
"""

from __future__ import annotations

from pathlib import Path

from graphql_gateway.edge.graphiql import Asset
from tools.graphiql import provide

FOLDER = Path(__file__).resolve().parents[1] / ".satreel" / "openapi-page"
_PACKAGE, _VERSION = "swagger-ui-dist", "5.29.0"
ASSETS = [
    Asset(_PACKAGE, _VERSION, path, sha384)
    for path, sha384 in {
        "swagger-ui.css": "++DMKo1369T5pxDNqojF1F91bYxYiT1N7b1M15a7oCzEodfljztKlApQoH6eQSKI",
        "swagger-ui-bundle.js": "fU7N0ipr7Rsi0J81QNqlN7WXb/tyAL8b16lEAJ2a01m7wdX+RU61ggqmxn8p3aJb",
    }.items()
]


def main() -> None:
    """The page's files."""
    provide("REST page", FOLDER, ASSETS, without="The edge will serve /openapi.json, but not /docs.")


if __name__ == "__main__":
    main()
