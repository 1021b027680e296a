"""The schema: what all domains show, as one graph.

`python -m graphql_gateway.schema` prints it; with `--write` it goes to schema.graphql, and with `--check` it
is compared with that file (exit code 1 when they differ).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from pathlib import Path

from strawberry.extensions import DisableIntrospection, MaxTokensLimiter
from strawberry.extensions.base_extension import SchemaExtension
from strawberry.schema.config import StrawberryConfig

from graphql_gateway import accounts, chain, federation, insight, market, memes, nodes, rounds
from graphql_gateway.composition import Composition
from graphql_gateway.entities import Mutation, Query, Subscription
from graphql_gateway.execution.documents import KnownDocuments
from graphql_gateway.federation import REPRESENTATION, Representation
from graphql_gateway.graph import OperationNamed, SatreelSchema
from graphql_gateway.proto import resolve_field
from graphql_gateway.safety.admission import TOKENS_MAX, Admission, suggest
from graphql_gateway.safety.price import Bounds
from graphql_gateway.scalars import SCALARS

FILE = Path(__file__).with_name("schema.graphql")


DOMAINS = (
    nodes.DOMAIN,
    rounds.DOMAIN,
    memes.DOMAIN,
    market.DOMAIN,
    accounts.DOMAIN,
    chain.DOMAIN,
    insight.DOMAIN,
)


def composed(only: Collection[str] = (), *, subgraph: bool = False) -> Composition:
    """The graph of all domains, or of those named alone, which is a subgraph."""
    served = [domain for domain in DOMAINS if not only or domain.name in only]
    composition = Composition(served, DOMAINS)
    if not only and not subgraph:
        return composition
    return Composition([*served, federation.subgraph(composition)], DOMAINS)


def build(
    composition: Composition | None = None,
    *,
    tokens_max: int = TOKENS_MAX,
    bounds: Bounds | None = None,
    introspection: bool = True,
) -> SatreelSchema:
    """A graph, the whole unless given, with bounds on documents."""
    composition, bounds = composition or composed(), bounds or Bounds()
    suggest(names_max=5 if introspection else 0)
    extensions: list[Callable[[], SchemaExtension]] = [
        lambda: KnownDocuments(built.documents),
        OperationNamed,
        lambda: MaxTokensLimiter(max_token_count=tokens_max),
        lambda: Admission(built.rules, bounds, built.lane, hides_names=not introspection),
        *(() if introspection else (DisableIntrospection,)),
    ]
    built = SatreelSchema(
        composition,
        bounds,
        query=Query,
        mutation=Mutation if composition.has(Mutation) else None,
        subscription=Subscription if composition.has(Subscription) else None,
        # What `node` may be is told by no field of its domain.
        types=composition.nodes if nodes.DOMAIN in composition.domains else (),
        extensions=extensions,
        config=StrawberryConfig(
            default_resolver=resolve_field,
            scalar_map={**SCALARS, Representation: REPRESENTATION},
            enable_experimental_incremental_execution=True,
        ),
    )
    return built


def main(arguments: list[str]) -> int:
    """Prints, writes or checks; gives the exit code."""
    printed = build().as_str() + "\n"
    match arguments:
        case []:
            sys.stdout.write(printed)
        case ["--write"]:
            FILE.write_text(printed)
        case ["--check"] if not FILE.exists() or FILE.read_text() != printed:
            sys.stderr.write(f"{FILE.name} is not the schema: python -m graphql_gateway.schema --write\n")
            return 1
        case ["--check"]:
            return 0
        case _:
            sys.stderr.write(f"{__doc__}")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
