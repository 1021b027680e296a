"""PostTransfers: plain transfers in columns are what CreateTransfers would make of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from satreel.ledger.v1 import ledger_service_pb2 as pb

from services.ledger.domain import commands as c
from services.ledger.domain.books import INT64_MAX
from services.ledger.domain.commands import Transfer
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.rpc.read import columns_order, read_command
from tests.ledger.world import World, uid

NAMES = ["user:a", "user:b", "user:c", "user:new", "user:newer", "platform:fee", "debts", "no name", "mint"]
AMOUNTS = [-1, 0, 1, 7, 7, 30, 500, INT64_MAX]


def columns_of(transfers: Sequence[Transfer]) -> pb.PostTransfersRequest:
    accounts = list(
        dict.fromkeys(name for one in transfers for name in (one.debit_account, one.credit_account))
    )
    return pb.PostTransfersRequest(
        accounts=accounts,
        ids=[one.id for one in transfers],
        debits=[accounts.index(one.debit_account) for one in transfers],
        credits=[accounts.index(one.credit_account) for one in transfers],
        amounts=[one.amount for one in transfers],
        memos=[one.memo for one in transfers] if any(one.memo for one in transfers) else [],
    )


def post(world: World, *transfers: Transfer, caller: str = "market") -> list[Reason]:
    order = columns_order(caller, columns_of(transfers))
    again = read_command(order.wire)
    assert isinstance(again, c.PostTransfers)
    return [result.reason for result in world.do(again)]


def funded() -> World:
    world = World()
    for user in "abc":
        world.fund(user, 100)
    return world


@pytest.mark.parametrize("seed", range(40))
def test_columns_do_what_rows_do(seed: int) -> None:
    by_lot = random.Random(seed)
    rows, columns = funded(), funded()
    for batch in range(6):
        ids = [uid(f"{batch}:{number % 17}") for number in range(20)]
        transfers = [
            Transfer(
                id_,
                by_lot.choice(NAMES[: by_lot.choice((3, 9))]),
                by_lot.choice(NAMES),
                by_lot.choice(AMOUNTS[: by_lot.choice((5, 8))]),
                memo=by_lot.choice(["", "", "x"]),
            )
            for id_ in ids
        ]
        caller = by_lot.choice(("market", "chain", "rounds"))
        assert post(columns, *transfers, caller=caller) == rows.transfer(*transfers, caller=caller)
        assert columns.digest == rows.digest


@pytest.mark.parametrize("memo", ["", "sale:x"])
def test_either_form_repeats_the_other(memo: str) -> None:
    world = funded()
    by_row = Transfer(uid("1"), "user:a", "user:new", 7, memo=memo)
    by_column = Transfer(uid("2"), "user:b", "user:new", 7, memo=memo)
    refused = Transfer(uid("3"), "user:c", "user:new", 5_000, memo=memo)
    assert world.transfer(by_row) == post(world, by_column) == [Reason.OK]
    assert post(world, refused) == [Reason.INSUFFICIENT_FUNDS]
    world.fund("c", 10_000)
    before = world.digest
    for again in (by_row, by_column):
        assert post(world, again) == world.transfer(again) == [Reason.OK]
        for other in (
            replace(again, amount=8),
            replace(again, memo="y"),
            replace(again, debit_account="user:c"),
        ):
            assert post(world, other) == world.transfer(other) == [Reason.ID_REUSED]
    assert post(world, refused) == world.transfer(refused) == [Reason.INSUFFICIENT_FUNDS]
    assert world.digest == before


def test_an_account_may_give_what_it_got_in_the_same_columns() -> None:
    world = funded()
    chain = [
        Transfer(uid("1"), "user:a", "user:new", 100),
        Transfer(uid("2"), "user:new", "user:newer", 60),
        Transfer(uid("3"), "user:newer", "user:a", 61),
        Transfer(uid("4"), "user:newer", "user:a", 60),
    ]
    assert post(world, *chain) == [Reason.OK, Reason.OK, Reason.INSUFFICIENT_FUNDS, Reason.OK]


def test_uneven_columns_are_no_command() -> None:
    even = columns_of([Transfer(uid("1"), "user:a", "user:b", 1), Transfer(uid("2"), "user:b", "user:a", 1)])
    columns_order("market", even)

    def check(**columns: object) -> None:
        request = pb.PostTransfersRequest()
        request.CopyFrom(even)
        for name, values in columns.items():
            del getattr(request, name)[:]
            getattr(request, name).extend(values)
        with pytest.raises(Refused) as refusal:
            columns_order("market", request)
        assert refusal.value.number is Reason.COLUMNS_UNEVEN

    check(debits=[0])
    check(credits=[1, 0, 1])
    check(amounts=[])
    check(memos=["x"])
    check(ids=[uid("1")])
    check(debits=[0, 2])
    check(credits=[4_000_000_000, 0])
