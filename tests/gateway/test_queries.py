"""Queries: batching, nodes, connections, and whose data they show."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from satreel.chain.v1 import chain_pb2, chain_service_pb2
from satreel.ledger.v1 import ledger_pb2
from satreel.market.v1 import market_pb2
from satreel.rounds.v1 import rounds_pb2

from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway import fakes
from tests.gateway.client import Client
from tests.gateway.world import World, token_of

LISTED = market_pb2.LISTING_STATE_OPEN
NODE = "query($id: ID!) { node(id: $id) { id } }"
MEMES = """query($first: Int, $after: String) {
  memes(first: $first, after: $after) {
    edges { cursor node { id name } }
    nodes { name }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}"""


async def test_a_list_of_memes_costs_one_batch_call_per_kind(world: World, client: Client) -> None:
    creators = [world.user(f"c{number}") for number in range(3)]
    for number in range(12):
        world.meme(f"m{number}", creators[number % 3])
    data = await client.ask(
        "{ memes(first: 12) { nodes { name creator { displayName } owner { displayName } quote { sales } "
        "title { since } inscription { origin } posterUrl } } }"
    )
    nodes = data["memes"]["nodes"]
    assert [node["name"] for node in nodes] == [f"m{number}" for number in reversed(range(12))]
    assert nodes[0]["creator"] == nodes[0]["owner"] == {"displayName": "c2"}
    assert nodes[0]["inscription"] is None
    names = ["ListMemes", "BatchGetUsers", "BatchGetTitles", "BatchGetQuotes", "BatchGetInscriptions"]
    # Owners are known only after titles, by when the creators have been asked for.
    assert [len(world.log.of(name)) for name in names] == [1, 1, 1, 1, 1]
    assert len(world.log.of("BatchGetTitles")[0].request.meme_ids) == 12


async def test_a_leaderboard_costs_one_batch_call_for_all_its_memes(world: World, client: Client) -> None:
    creator, played = world.user("ada"), world.round()
    board = world.rounds.boards[played.id]
    for rank in range(1, 21):
        meme = world.meme(f"m{rank}", creator)
        board.standings.append(rounds_pb2.Standing(rank=rank, meme_id=meme.id, creator_id=creator.id))
    data = await client.ask(
        "{ currentRound { state leaderboard { standings { rank meme { name } creator { id } } } } }"
    )
    standings = data["currentRound"]["leaderboard"]["standings"]
    assert [line["meme"]["name"] for line in standings] == [f"m{rank}" for rank in range(1, 21)]
    assert len(world.log.of("BatchGetMemes")) == len(world.log.of("BatchGetUsers")) == 1


async def test_every_node_is_refetched_by_its_global_id(world: World, client: Client) -> None:
    ada = world.user("ada")
    world.round(number=7)
    meme = world.meme("cat", ada)
    listing = market_pb2.Listing(
        id=uuid7(), meme_id=meme.id, seller_id=ada.id, price_sats=2_000, state=LISTED
    )
    sale = market_pb2.Sale(id=uuid7(), meme_id=meme.id, price_sats=3_000)
    offer = market_pb2.Offer(id=uuid7(), meme_id=meme.id, buyer_id=ada.id, price_sats=4_000, state=2)  # type: ignore[arg-type]
    world.market.listings[listing.id], world.market.sales[sale.id] = listing, sale
    world.market.offers[offer.id] = offer
    data = await client.ask(
        "query($meme: ID!, $user: ID!) { currentRound { id } user(id: $user) { id } "
        "meme(id: $meme) { id quote { openListing { id } } } }",
        {"meme": meme.id, "user": ada.id},
    )
    ids = [
        data["user"]["id"],
        data["meme"]["id"],
        data["currentRound"]["id"],
        data["meme"]["quote"]["openListing"]["id"],
        global_id("Sale", sale.id),
        global_id("Offer", offer.id),
    ]
    query = """fragment All on Node { __typename id ... on User { displayName } ... on Meme { name }
      ... on Round { number } ... on Listing { priceSats } ... on Sale { priceSats }
      ... on Offer { priceSats state } }
      query($ids: [ID!]!, $one: ID!) { node(id: $one) { ...All } nodes(ids: $ids) { ...All } }"""
    found = await client.ask(query, {"ids": [*ids, global_id("Meme", uuid7())], "one": ids[4]})
    assert found["nodes"] == [
        {"__typename": "User", "id": ids[0], "displayName": "ada"},
        {"__typename": "Meme", "id": ids[1], "name": "cat"},
        {"__typename": "Round", "id": ids[2], "number": 7},
        {"__typename": "Listing", "id": ids[3], "priceSats": 2_000},
        {"__typename": "Sale", "id": ids[4], "priceSats": 3_000},
        {"__typename": "Offer", "id": ids[5], "priceSats": 4_000, "state": "OPEN"},
        None,
    ]
    assert found["node"] == found["nodes"][4]
    # An argument takes the global id as well as the bare one.
    same = await client.ask("query($id: ID!) { meme(id: $id) { name } }", {"id": ids[1]})
    assert same == {"meme": {"name": "cat"}}


async def test_withdrawals_and_viewings_are_found_by_their_owner_alone(world: World, client: Client) -> None:
    ada, _ = world.user("ada"), world.user("bob")
    withdrawal = chain_pb2.Withdrawal(id=uuid7(), user_id=ada.id, amount_sats=7, state=1)  # type: ignore[arg-type]
    world.chain.withdrawals[withdrawal.id] = withdrawal
    session = ledger_pb2.Session(id=uuid7(), viewer_id=ada.id, seconds=9)
    world.ledger.sessions[session.id] = session
    ids = [global_id("Withdrawal", withdrawal.id), global_id("Viewing", session.id)]
    query = """query($ids: [ID!]!) { nodes(ids: $ids) { id ... on Withdrawal { amountSats }
      ... on Viewing { seconds } } }"""
    found = await client.ask(query, {"ids": ids}, token=token_of("ada"))
    assert found["nodes"] == [{"id": ids[0], "amountSats": 7}, {"id": ids[1], "seconds": 9}]
    for stranger in ("", token_of("bob")):
        assert (await client.ask(query, {"ids": ids}, token=stranger))["nodes"] == [None, None]


async def test_a_bad_id_is_told_and_reaches_no_service(world: World, client: Client) -> None:
    unknown = global_id("Query", uuid7())
    assert (await client.fail(NODE, {"id": unknown}))["code"] == "BAD_ID"
    for bad in ("", "x", "UXVlcnk6MQ==", "Meme:1", "\u00e9", "TWVtZTo=", "TWVtZTpub3QtYS11dWlk", "a" * 5_000):
        node = await client.fail(NODE, {"id": bad})
        meme = await client.fail("query($id: ID!) { meme(id: $id) { id } }", {"id": bad})
        assert node["code"] == meme["code"] == "BAD_ID", bad
    assert not world.log.calls


async def test_an_id_of_another_type_is_told(world: World, client: Client) -> None:
    wrong = global_id("User", uuid7())
    error = await client.fail("query($id: ID!) { meme(id: $id) { id } }", {"id": wrong})
    assert (error["code"], error["metadata"]) == ("BAD_ID", {"expected": "Meme"})
    unknown = global_id("Query", uuid7())
    assert (await client.fail("query($id: ID!) { node(id: $id) { id } }", {"id": unknown}))[
        "code"
    ] == "BAD_ID"
    many = [wrong] * 101
    error = await client.fail("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": many})
    assert error["code"] == "TOO_MANY_NODES"
    assert not world.log.calls


async def test_paging_by_any_cursor_misses_nothing_and_repeats_nothing(world: World, client: Client) -> None:
    ada = world.user("ada")
    for number in range(7):
        world.meme(f"m{number}", ada)
    whole = (await client.ask(MEMES))["memes"]
    names = [node["name"] for node in whole["nodes"]]
    assert names == [f"m{number}" for number in reversed(range(7))]
    assert whole["pageInfo"]["hasNextPage"] is whole["pageInfo"]["hasPreviousPage"] is False
    for size in (1, 2, 3):
        seen, after = [], None
        while True:
            page = (await client.ask(MEMES, {"first": size, "after": after}))["memes"]
            seen += [edge["node"]["name"] for edge in page["edges"]]
            after = page["pageInfo"]["endCursor"]
            if not page["pageInfo"]["hasNextPage"]:
                break
        assert seen == names
    for place, edge in enumerate(whole["edges"], 1):
        rest = (await client.ask(MEMES, {"after": edge["cursor"]}))["memes"]
        assert [node["name"] for node in rest["nodes"]] == names[place:]


async def test_cursors_stay_where_they_are_when_new_items_come_in_front(world: World, client: Client) -> None:
    ada = world.user("ada")
    for number in range(6):
        world.meme(f"m{number}", ada)
    first = (await client.ask(MEMES, {"first": 3}))["memes"]
    world.meme("new", ada)
    middle, end = first["edges"][0]["cursor"], first["pageInfo"]["endCursor"]
    after_middle = (await client.ask(MEMES, {"first": 2, "after": middle}))["memes"]
    assert [node["name"] for node in after_middle["nodes"]][:1] == ["m4"]
    after_end = (await client.ask(MEMES, {"first": 2, "after": end}))["memes"]
    assert [node["name"] for node in after_end["nodes"]] == ["m2", "m1"]
    gone = [*world.content.memes][5]
    del world.content.memes[gone]
    assert (await client.fail(MEMES, {"after": middle}))["code"] == "BAD_CURSOR"


async def test_a_bad_cursor_is_told(world: World, client: Client) -> None:
    far = base64.b64encode(b'["", 5000, "a"]').decode()
    for bad in ("x", "%%%", "\u00e9", "MTox", far, "W10=", "a" * 9_999):
        assert (await client.fail(MEMES, {"after": bad}))["code"] == "BAD_CURSOR", bad
    assert not world.log.calls


async def test_a_bad_page_size_is_told(world: World, client: Client) -> None:
    for size in (0, -1, 101, 2**31 - 1):
        error = await client.fail(MEMES, {"first": size})
        assert (error["code"], error["metadata"]) == ("BAD_PAGE_SIZE", {"minimum": "1", "maximum": "100"})
    assert not world.log.calls


async def test_what_belongs_to_a_viewer_is_never_shown_to_another(world: World, client: Client) -> None:
    names = [f"viewer{number}" for number in range(8)]
    users = {name: world.user(name) for name in names}
    for number, name in enumerate(names):
        world.ledger.balances[f"user:{users[name].id}"] = 1_000 + number
    query = "{ me { user { displayName } balance { balance } depositAddress { address } } }"

    async def check(number: int) -> None:
        name = names[number % len(names)]
        me = (await client.ask(query, token=token_of(name)))["me"]
        assert me == {
            "user": {"displayName": name},
            "balance": {"balance": 1_000 + number % len(names)},
            "depositAddress": {"address": f"address-of-{users[name].id}"},
        }

    async def check_nobody() -> None:
        assert await client.ask("{ me { user { id } } }") == {"me": None}

    await asyncio.gather(*(check(number) for number in range(40)), *(check_nobody() for _ in range(10)))
    for call in world.log.of("GetAccount"):
        assert call.request.account_id == f"user:{call.caller.user_id}"


async def test_a_viewer_without_deposits_has_nothing(world: World, client: Client) -> None:
    world.user("ada")
    balance = (await client.ask("{ me { balance { balance available } } }", token=token_of("ada")))["me"]
    assert balance == {"balance": {"balance": 0, "available": 0}}


async def test_the_statement_is_a_connection_of_the_viewers_own_postings(
    world: World, client: Client
) -> None:
    world.user("ada")
    world.ledger.postings = [
        ledger_pb2.Posting(
            sequence=number, transfer_id=uuid7(), asset="sat", amount=number, posted_at=fakes.AT
        )
        for number in range(9, 0, -1)
    ]
    query = """query($after: String) { me { statement(first: 4, after: $after) {
      nodes { sequence amount } pageInfo { endCursor hasNextPage } } } }"""
    seen, after = [], None
    for _ in range(3):
        page = (await client.ask(query, {"after": after}, token=token_of("ada")))["me"]["statement"]
        seen += [node["sequence"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert seen == list(range(9, 0, -1))


async def test_times_enums_and_sats_look_as_documented(world: World, client: Client) -> None:
    data = await client.ask(
        "{ tip { height seenAt } metrics { name aggregation } "
        "books { totals { usersSats } custody { coinsSats } } }"
    )
    assert data == {
        "tip": {"height": 100, "seenAt": "2026-02-02T02:40:00Z"},
        "metrics": [{"name": "sats_burned", "aggregation": "SUM"}],
        "books": {"totals": {"usersSats": 70}, "custody": {"coinsSats": 70}},
    }


async def test_how_sure_the_tip_is(world: World, client: Client) -> None:
    query = "{ chainTip { block { height } confirmedAt stale rival { hash } } }"
    sure = {"block": {"height": 100}, "confirmedAt": "2026-02-02T02:40:00Z", "stale": False, "rival": None}
    assert await client.ask(query) == {"chainTip": sure}
    world.chain.rival = chain_pb2.Block(hash="11" * 32, height=100)
    assert await client.ask(query) == {"chainTip": sure | {"stale": True, "rival": {"hash": "11" * 32}}}


async def test_an_administrator_lifts_a_freeze_that_everybody_sees(world: World, client: Client) -> None:
    world.user("root", admin=True)
    world.chain.freezes = [
        chain_service_pb2.WalletFreeze(txid=txid * 32, outpoint="", why="spent", since=fakes.AT)
        for txid in ("aa", "bb")
    ]
    seen = await client.ask("{ books { custody { freezes { txid why since } } } }", token=token_of("root"))
    assert [freeze["txid"] for freeze in seen["books"]["custody"]["freezes"]] == ["aa" * 32, "bb" * 32]
    lift = "mutation($txid: String!) { liftWalletFreeze(txid: $txid) { txid } }"
    left = await client.ask(lift, {"txid": "aa" * 32}, token=token_of("root"))
    assert left == {"liftWalletFreeze": [{"txid": "bb" * 32}]}


async def test_titles_on_which_ledger_and_chain_differ_are_shown(world: World, client: Client) -> None:
    data = await client.ask(
        "{ titleAudit { lookedAt titles different "
        "differences { kind outpoint detail meme { name } ledgerOwner { id } chainOwner { id } } } }"
    )
    found: dict[str, str | None] = {"kind": "OWNER", "outpoint": None, "detail": "held for another"}
    unknown: dict[str, str | None] = {"meme": None, "ledgerOwner": None, "chainOwner": None}
    assert data == {
        "titleAudit": {"lookedAt": None, "titles": 3, "different": 1, "differences": [found | unknown]}
    }


async def test_no_current_round_is_null_and_a_service_away_an_error(world: World, client: Client) -> None:
    assert await client.ask("{ currentRound { id } }") == {"currentRound": None}
    world.log.failing["GetCurrentRound"] = Unavailable("storage is away")
    answer = await client.post("{ currentRound { id } tip { height } }")
    assert answer.error["code"] == "UNAVAILABLE"
    assert answer.error["service"] == "rounds"
    # What did not fail is there.
    assert answer.json["data"] == {"currentRound": None, "tip": {"height": 100}}


def global_id(type_name: str, bare: str) -> Any:
    return base64.b64encode(f"{type_name}:{bare}".encode()).decode()
