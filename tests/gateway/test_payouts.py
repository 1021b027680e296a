"""Payouts explained, and the record they follow from."""

from __future__ import annotations

import pytest
from satreel.ledger.v1 import ledger_pb2
from satreel.rounds.v1 import rounds_pb2
from strawberry import relay

from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway import fakes
from tests.gateway.client import Client
from tests.gateway.world import World

EXPLAINED = """query($user: ID) { currentRound { payoutExplanation(userId: $user) {
  totalSats matches mismatches user { displayName }
  steps { what formula resultSats meme { name } user { displayName } }
} } }"""
RECORD = "{ currentRound { publicRecord { json sha256 } } }"


def opened(world: World) -> rounds_pb2.Round:
    played = world.round()
    played.starts_at.CopyFrom(fakes.AT)
    return played


async def test_a_payout_is_explained_step_by_step(world: World, client: Client) -> None:
    ada, played = world.user("ada"), opened(world)
    cat, dog = world.meme("cat", ada), world.meme("dog", ada)
    steps = [
        ledger_pb2.PayoutStep(
            what="creator's part", formula="f", result_sats=0, meme_id=one.id, user_id=ada.id
        )
        for one in (cat, dog)
    ]
    steps.append(ledger_pb2.PayoutStep(what="weights", formula="w"))
    told = ledger_pb2.PayoutExplanation(
        round_id=played.id, user_id=ada.id, steps=steps, total_sats=7, mismatches=["m"]
    )
    world.ledger.explanations[played.id, ada.id] = told
    world.log.calls.clear()
    for user_id in (ada.id, relay.to_base64("User", ada.id)):
        found = (await client.ask(EXPLAINED, {"user": user_id}))["currentRound"]["payoutExplanation"]
    assert (found["totalSats"], found["matches"], found["mismatches"]) == (7, False, ["m"])
    assert found["user"] == {"displayName": "ada"}
    assert found["steps"] == [
        *(
            {
                "what": "creator's part",
                "formula": "f",
                "resultSats": 0,
                "meme": {"name": name},
                "user": {"displayName": "ada"},
            }
            for name in ("cat", "dog")
        ),
        {"what": "weights", "formula": "w", "resultSats": None, "meme": None, "user": None},
    ]
    calls = ("ExplainPayout", "BatchGetMemes", "BatchGetUsers")
    assert [len(world.log.of(name)) for name in calls] == [2, 2, 2], "one batch per kind and query"


async def test_everybodys_payouts_are_explained_together(world: World, client: Client) -> None:
    played = opened(world)
    told = ledger_pb2.PayoutExplanation(round_id=played.id, total_sats=9, matches=True)
    world.ledger.explanations[played.id, ""] = told
    found = (await client.ask(EXPLAINED))["currentRound"]["payoutExplanation"]
    assert found == {"totalSats": 9, "matches": True, "mismatches": [], "user": None, "steps": []}


async def test_the_public_record_is_shown_as_it_is(world: World, client: Client) -> None:
    played = opened(world)
    world.ledger.records[played.id] = ledger_pb2.RoundRecord(json='{"a":1}', sha256="ab" * 32)
    found = await client.ask(RECORD)
    assert found["currentRound"]["publicRecord"] == {"json": '{"a":1}', "sha256": "ab" * 32}


@pytest.mark.parametrize(("query", "field"), [(RECORD, "publicRecord"), (EXPLAINED, "payoutExplanation")])
async def test_a_round_that_the_ledger_never_saw_has_none(
    world: World, client: Client, query: str, field: str
) -> None:
    world.round()
    assert await client.ask(query) == {"currentRound": {field: None}}
    assert not world.log.of("ExplainPayout") + world.log.of("GetRoundRecord"), "it is pending"
    opened(world)
    assert await client.ask(query) == {"currentRound": {field: None}}


async def test_failures_are_told(world: World, client: Client) -> None:
    opened(world)
    error = await client.fail(EXPLAINED, {"user": relay.to_base64("Meme", uuid7())})
    assert error["code"] == "BAD_ID"
    world.log.failing["ExplainPayout"] = Unavailable("going down")
    assert (await client.fail(EXPLAINED))["code"] == "UNAVAILABLE"
