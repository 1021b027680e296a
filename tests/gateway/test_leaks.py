"""What is shared is told to nobody in particular: queries by chance, and whom they ask."""

from __future__ import annotations

import inspect
import random
from collections import Counter
from typing import Any

import pytest
from google.protobuf.message import Message
from graphql import parse, validate
from satreel.identity.v1 import identity_pb2

from graphql_gateway import schema
from graphql_gateway.context import Context, Parts
from graphql_gateway.edge.authentication import Viewer, act_for
from graphql_gateway.edge.results import Told
from graphql_gateway.execution.documents import Document
from graphql_gateway.execution.events import sharing_of
from graphql_gateway.execution.memo import Memo
from graphql_gateway.safety.price import Priced
from mesh import caller
from mesh.clock import SystemClock
from services.chain.rpc.servicer import ChainServicer
from services.content.rpc.servicer import ContentServicer
from services.identity.rpc.servicer import IdentityServicer
from services.insight.rpc.servicer import InsightServicer
from services.ledger.rpc.servicer import LedgerServicer
from services.market.rpc.servicer import MarketServicer
from services.rounds.rpc.servicer import RoundsServicer
from tests.gateway import virtual_time
from tests.gateway.generated import Operation, Operations
from tests.gateway.test_memo import feeds
from tests.gateway.weather import IDS, Weather

SERVICERS = {
    "chain": ChainServicer,
    "content": ContentServicer,
    "identity": IdentityServicer,
    "insight": InsightServicer,
    "ledger": LedgerServicer,
    "market": MarketServicer,
    "rounds": RoundsServicer,
}
VIEWERS = [
    None,
    *(
        Viewer(
            identity_pb2.User(id=IDS[number], display_name=name, roles=[role]), name, name, f"token of {name}"
        )
        for number, (name, role) in enumerate(
            [("ada", identity_pb2.ROLE_USER), ("root", identity_pb2.ROLE_ADMIN)]
        )
    ),
]
WHOSE = "asked by "
NOBODYS = f"{WHOSE}None "
ALWAYS = Priced(1, 1, 0, 0, 1, 1.0, {})


class Telltale:
    """A service that writes who asks into every text of its answers."""

    def __init__(self, name: str, stub: Any, asked: Counter[tuple[str, str]]) -> None:
        self._name = name
        self._stub = stub
        self._asked = asked

    def __getattr__(self, method: str) -> Any:
        async def call(request: Any) -> Message:
            self._asked[self._name, method] += 1
            response: Message = await getattr(self._stub, method)(request)
            sign(response, f"{WHOSE}{caller.current().user_id} {caller.user_token()}")
            return response

        return call


def sign(message: Message, who: str) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                sign(one, who)
        elif field.type == field.TYPE_STRING and not field.is_repeated and not field.name.endswith("id"):
            setattr(message, field.name, who)


class Bench:
    def __init__(self) -> None:
        self.graph = schema.build()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.shared = self.signed = 0

    async def ask(self, operation: Operation, document: Document, seed: int) -> None:
        """All of them ask; those who come later are told what was made for the first, if it is shared."""
        known = document.operation(operation.name)
        assert known is not None
        services = Weather(seed).services()
        stubs = {name: Telltale(name, getattr(services, name), self.asked) for name in services.__slots__}
        memo = Memo(feeds(), SystemClock())
        parts = Parts(type(services)(**stubs), *[None] * 7, memo)  # type: ignore[arg-type, call-arg] # no resolver needs them
        answers = []
        for viewer in random.Random(seed).sample(VIEWERS, len(VIEWERS)):
            act_for(viewer)
            context = Context(parts, None, viewer=viewer)  # type: ignore[arg-type] # as above
            shared = self.graph._shared
            key = shared.key_of(known, ALWAYS, operation.variables, context)
            assert (key is None) is not sharing_of(self.graph._schema, known).is_same_for_all
            if key is None:
                return
            answer = await shared.answer(key, known, operation.variables, context)
            told = answer.payload.decode() if isinstance(answer, Told) else repr(answer.data)
            assert told.count(WHOSE) == told.count(NOBODYS), operation
            assert "token of" not in told, operation
            self.signed += told.count(NOBODYS)
            if isinstance(answer, Told):
                answers.append(told)
        self.shared += 1
        assert len(set(answers)) <= 1


@pytest.mark.parametrize("seed", range(2))
def test_nobody_is_told_what_another_was(seed: int) -> None:
    bench, chance = Bench(), random.Random(seed)
    operations = Operations(bench.graph._schema, chance, fields_max=6)
    for _ in range(400):
        operation = operations.make("query")
        node = parse(operation.text)
        if not validate(bench.graph._schema, node):
            virtual_time.run(bench.ask(operation, Document(node), chance.randrange(10**9)))
    assert bench.shared > 30, bench.shared
    assert bench.signed > 30, bench.signed
    assert len(bench.asked) > 10, bench.asked
    for name, method in bench.asked:
        # Whoever declares a field the same for all vouches for this.
        source = inspect.getsource(getattr(SERVICERS[name], method))
        assert "caller." not in source, (name, method)
        assert "_user_id" not in source, (name, method)
