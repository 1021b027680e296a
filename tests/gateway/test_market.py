"""The market in GraphQL: what is asked reaches the service as meant, and comes back as objects."""

from __future__ import annotations

from satreel.market.v1 import market_pb2

from graphql_gateway.ids import split_id
from mesh.ids import uuid7
from tests.gateway.client import Client
from tests.gateway.world import World, token_of

EXPIRY = "2031-01-31T12:00:00Z"


async def test_a_listing_is_made_with_an_expiry_and_changed_by_version(world: World, client: Client) -> None:
    meme, listing_id = world.meme("cat", world.user("ada")), uuid7()
    made = await client.ask(
        """mutation($meme: ID!, $id: ID, $at: DateTime) {
          createListing(memeId: $meme, priceSats: 2000, expiresAt: $at, id: $id) {
            id version expiresAt priceSats } }""",
        {"meme": meme.id, "id": listing_id, "at": EXPIRY},
        token=token_of("ada"),
    )
    listing = made["createListing"]
    assert split_id(listing["id"]) == ("Listing", listing_id)
    assert (listing["version"], listing["expiresAt"], listing["priceSats"]) == (1, EXPIRY, 2_000)
    change = """mutation($id: ID!) {
      price: updateListing(listingId: $id, expectedVersion: 1, priceSats: 3000) { id }
      never: updateListing(listingId: $id, expectedVersion: 2, expiresAt: null) { id }
      at: updateListing(listingId: $id, expectedVersion: 3, expiresAt: "2031-01-31T12:00:00Z") { id } }"""
    await client.ask(change, {"id": listing["id"]}, token=token_of("ada"))
    price, never, at = (call.request for call in world.log.of("UpdateListing"))
    assert (price.listing_id, price.expected_version, price.price_sats) == (listing_id, 1, 3_000)
    assert price.WhichOneof("expiry") is None
    assert (never.WhichOneof("expiry"), never.HasField("price_sats")) == ("never_expires", False)
    assert at.expires_at.ToJsonString() == EXPIRY


async def test_an_offer_is_made_found_accepted_and_taken_back(world: World, client: Client) -> None:
    ada, bob = world.user("ada"), world.user("bob")
    meme = world.meme("cat", bob)
    made = await client.ask(
        """mutation($meme: ID!, $at: DateTime!) { makeOffer(memeId: $meme, priceSats: 2000, expiresAt: $at) {
          id state priceSats expiresAt buyer { displayName } meme { name } } }""",
        {"meme": meme.id, "at": EXPIRY},
        token=token_of("ada"),
    )
    offer = made["makeOffer"]
    assert (offer["state"], offer["priceSats"], offer["expiresAt"]) == ("OPEN", 2_000, EXPIRY)
    assert (offer["buyer"], offer["meme"]) == ({"displayName": "ada"}, {"name": "cat"})
    listed = await client.ask(
        "query($meme: ID, $buyer: ID) { offers(memeId: $meme, buyerId: $buyer) { nodes { id } } }",
        {"meme": meme.id, "buyer": ada.id},
    )
    assert listed["offers"]["nodes"] == [{"id": offer["id"]}]
    [asked] = world.log.of("ListOffers")
    assert (asked.request.state, asked.request.buyer_id) == (market_pb2.OFFER_STATE_OPEN, ada.id)
    sold = await client.ask(
        "mutation($id: ID!) { acceptOffer(offerId: $id) { priceSats number listing { id } offer { id } } }",
        {"id": offer["id"]},
        token=token_of("bob"),
    )
    assert sold["acceptOffer"] == {
        "priceSats": 2_000,
        "number": 1,
        "listing": None,
        "offer": {"id": offer["id"]},
    }
    gone = await client.ask(
        "mutation($id: ID!) { cancelOffer(offerId: $id) { id } }", {"id": offer["id"]}, token=token_of("ada")
    )
    assert gone == {"cancelOffer": {"id": offer["id"]}}


async def test_prices_over_time_and_the_whole_market(world: World, client: Client) -> None:
    meme = world.meme("cat", world.user("ada"))
    data = await client.ask(
        """query($meme: ID!) {
          priceSeries(memeId: $meme, step: DAY, start: "2031-01-01T00:00:00Z", end: "2031-02-01T00:00:00Z") {
            startsAt openSats highSats sales }
          marketOverview { openListings floorPriceSats } }""",
        {"meme": meme.id},
    )
    assert data["priceSeries"] == [
        {"startsAt": "2031-01-01T00:00:00Z", "openSats": 5, "highSats": 9, "sales": 2}
    ]
    assert data["marketOverview"] == {"openListings": 3, "floorPriceSats": 1_500}
    [asked] = world.log.of("GetSeries")
    assert asked.request.step == market_pb2.STEP_DAY
    assert asked.request.end.ToJsonString() == "2031-02-01T00:00:00Z"
