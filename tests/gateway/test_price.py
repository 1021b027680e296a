"""What operations cost: as declared in the schema, in one walk, with the sizes that variables say."""

from __future__ import annotations

import graphql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_gateway import schema
from graphql_gateway.safety.price import Bounds, OperationTooLarge, Priced, Prices, prices

RULES = schema.build().rules
CALL = 25
PAGE_IN_PAGE = (
    "{ memes(first: 5) { ...M } } fragment M on MemeConnection { nodes { creator { ...U } } } "
    "fragment U on User { memes(first: 3) { nodes { id } } }"
)


def priced(document: str, name: str | None = None) -> Priced:
    found = measured(document).of(name)
    assert found is not None
    return found


def measured(document: str) -> Prices:
    return prices(graphql.parse(document, no_location=True), RULES)


@pytest.mark.parametrize(
    ("document", "cost"),
    [
        ("{ tip { hash height } }", CALL + 2),
        ("{ memes(first: 10) { nodes { id name } } }", CALL + 1 + 10 * 2),
        # Both ways to the items are as long as the page.
        ("{ memes(first: 10) { edges { node { id } } nodes { id } pageInfo { endCursor } } }",
         CALL + (1 + 10 * 2) + (1 + 10) + 2),
        # 20 unless the argument is given; out of bounds it is the largest page.
        ("{ memes { nodes { id } } }", CALL + 1 + 20),
        ("{ memes(first: 999999999999999) { nodes { id } } }", CALL + 1 + 100),
        ("{ memes(first: -1) { nodes { id } } }", CALL + 1 + 100),
        # A page within a page, behind fragments.
        (PAGE_IN_PAGE, CALL + 1 + 5 * (1 + CALL + 1 + 3)),
        # The list is inside of what has the argument.
        ("{ currentRound { leaderboard(limit: 7) { standings { rank } } } }", CALL + CALL + 1 + 7),
        ("{ currentRound { leaderboard { ... { standings { rank } } } } }", CALL + CALL + 1 + 20),
        # As long as the list that is given.
        ('{ nodes(ids: ["a", "b", "c"]) { id } }', CALL + 3),
        # A list of plain values.
        ('{ user(id: "a") { roles } }', CALL + 1 + 4),
        ("{ __typename }", 1),
        # What does not exist costs like anything else: validation will say so.
        ("{ nonsense { more } }", 2),
        ("subscription { roundUpdated { number } }", CALL + 1),
    ],
)  # fmt: skip
def test_the_cost_is_what_the_schema_declares(document: str, cost: float) -> None:
    assert priced(document).cost(None) == cost


def test_variables_say_how_long_lists_are() -> None:
    document = (
        "query($n: Int = 30, $ids: [ID!]!) { memes(first: $n) { nodes { id } } nodes(ids: $ids) { id } }"
    )
    found = priced(document)
    base = CALL + 1 + CALL
    assert found.cost({"ids": ["a"]}) == base + 30 + 1
    assert found.cost({"n": 5, "ids": ["a"] * 90}) == base + 5 + 90
    # A null or a wrong value is refused later; until then it is what is assumed.
    assert found.cost({"n": None, "ids": None}) == base + 20 + 100
    assert found.cost({"n": True, "ids": 7}) == base + 20 + 7
    assert found.cost({"n": 10**30, "ids": "a"}) == base + 100 + 100


def test_the_same_fragment_has_the_variables_of_each_operation() -> None:
    document = (
        "query A($n: Int = 2) { ...F } query B($n: Int = 9) { ...F } "
        "fragment F on Query { memes(first: $n) { nodes { id } } }"
    )
    assert [priced(document, name).cost(None) for name in "AB"] == [CALL + 1 + 2, CALL + 1 + 9]
    assert measured(document).of(None) is None
    assert measured(document).of("C") is None


def test_sizes_count_fragments_as_often_as_they_are_spread() -> None:
    document = "{ a: tip { ...T } b: tip { ...T x: hash } } fragment T on Block { h: height hash }"
    found = priced(document)
    assert (found.depth, found.fields, found.aliases) == (2, 7, 5)


def test_log_ins_are_counted_behind_aliases_and_fragments() -> None:
    attempt = 'logIn(challengeId: "a", address: "b", signature: "c") { accessToken }'
    document = (
        f"mutation {{ a: {attempt} ...L ... {{ ...L }} logOut }} fragment L on Mutation {{ b: {attempt} }}"
    )
    assert priced(document).log_ins == 3


def test_an_answer_is_as_fresh_as_its_root_fields_allow() -> None:
    assert priced("{ tip { hash } memes { nodes { id } } }").max_age_s == 1
    assert priced("{ tip { hash } ...M } fragment M on Query { me { user { id } } }").max_age_s == 0
    assert priced("mutation { logOut }").max_age_s == 0


def doubling(times: int) -> str:
    fragments = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(times))
    return (
        fragments
        + f"fragment F{times} on Query {{ memes(first: $n) {{ nodes {{ id }} }} }} "
        + ("query($n: Int) { ...F0 }")
    )


def test_the_walk_is_linear_in_the_document() -> None:
    for times in (10, 60, 200):
        document = doubling(times)
        found = measured(document)
        # Each selection that is written is looked at once.
        assert found.steps == 2 * times + 4
        only = found.of(None)
        assert only is not None
        assert only.fields == 3 * 2**times
        assert only.cost({"n": 4}) == float(2**times * (CALL + 1 + 4))
        with pytest.raises(OperationTooLarge):
            only.check({"n": 1}, Bounds())


def test_fragments_that_go_in_circles_end() -> None:
    circle = "{ ...A } fragment A on Query { tip { hash } ...B } fragment B on Query { ...A ...B ...No }"
    assert measured(circle).steps == 7


def test_each_bound_is_kept_and_named() -> None:
    bounds = Bounds(depth=2, fields=4, aliases=1, cost=60)
    for document, named in (
        ("{ tip { hash } }", None),
        ("{ memes { nodes { id } } }", "2 levels"),
        ("{ tip { hash height seenAt minedAt } }", "4 fields"),
        ("{ a: tip { b: hash } }", "1 aliases"),
        ("{ tip { hash } metrics { name } }", "60 values"),
    ):
        if named is None:
            assert priced(document).check(None, bounds) == CALL + 1
        else:
            with pytest.raises(OperationTooLarge, match=named):
                priced(document).check(None, bounds)


def test_every_list_says_how_long_it_may_be() -> None:
    assert RULES.undeclared() == []


NAMES = st.sampled_from(["tip", "memes", "nodes", "edges", "node", "hash", "creator", "id", "standings", "x"])


@st.composite
def selections(draw: st.DrawFn, depth: int = 0) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 3 if depth < 4 else 0))
        if kind == 0:
            parts.append(draw(NAMES))
        elif kind == 1:
            parts.append(f"{draw(NAMES)} {{ {draw(selections(depth + 1))} }}")
        elif kind == 2:
            parts.append(
                f"... on {draw(st.sampled_from(['Query', 'User', 'No']))} {{ {draw(selections(depth + 1))} }}"
            )
        else:
            parts.append(f"...F{draw(st.integers(0, 3))}")
    return " ".join(parts)


@given(st.lists(selections(), min_size=1, max_size=4))
def test_any_document_is_measured_in_as_many_steps_as_it_has_selections(bodies: list[str]) -> None:
    document = f"query($n: Int) {{ {bodies[0]} }} " + " ".join(
        f"fragment F{number} on Query {{ {body} }}" for number, body in enumerate(bodies)
    )
    node = graphql.parse(document, no_location=True)
    counted = 0

    class Counter(graphql.Visitor):
        def enter_selection_set(self, node: graphql.SelectionSetNode, *_: object) -> None:
            nonlocal counted
            counted += len(node.selections)

    graphql.visit(node, Counter())
    assert prices(node, RULES).steps <= counted
