"""Starts rounds. Reads as a recipe."""

from __future__ import annotations

from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.content.v1 import content_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc
from satreel.rounds.v1 import rounds_service_pb2_grpc

from mesh.feeds import open_feed
from mesh.ids import uuid7
from mesh.leases import LEASES, Lease, lead
from mesh.records import open_store
from mesh.runtime import Runtime, run
from services.rounds.adapters.chain import ChainClient
from services.rounds.adapters.content import ContentClient
from services.rounds.adapters.ledger import LedgerClient
from services.rounds.adapters.records import SETS, CandidateRecords, CursorRecords, RoundRecords
from services.rounds.app.assignment import Assignment
from services.rounds.app.board import Announcer, Board
from services.rounds.app.driver import Driver
from services.rounds.app.effects import Effects
from services.rounds.app.followers import Followers
from services.rounds.app.leading import Leading
from services.rounds.app.service import RoundsService
from services.rounds.config import RoundsSettings
from services.rounds.domain.values import RULES
from services.rounds.rpc.news import FeedNews
from services.rounds.rpc.servicer import RoundsServicer

SERVICE = "satreel.rounds.v1.RoundsService"


async def main(settings: RoundsSettings) -> None:
    """Runs rounds until told to stop."""
    async with Runtime(settings) as runtime:
        clock = runtime.clock
        store = await runtime.enter(open_store(settings, (*SETS, LEASES)))
        feed = await runtime.enter(open_feed(settings.redis_url, "rounds"))

        rounds = RoundRecords(store)
        ledger = LedgerClient(ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger")))
        content = ContentClient(content_service_pb2_grpc.ContentServiceStub(runtime.channel("content")))
        chain = ChainClient(chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain")))
        news = FeedNews(feed, clock)

        assignment = Assignment(candidates=CandidateRecords(store), content=content)
        board = Board(clock)
        driver = Driver(
            rounds=rounds,
            effects=Effects(ledger=ledger, chain=chain, assignment=assignment),
            board=board,
            news=news,
            clock=clock,
            new_id=uuid7,
            rules=RULES,
            timing=settings.timing,
        )
        followers = Followers(
            driver=driver,
            assignment=assignment,
            rounds=rounds,
            cursors=CursorRecords(store),
            ledger=ledger,
            content=content,
            chain=chain,
            news=news,
            clock=clock,
        )
        announcer = Announcer(board=board, news=news, clock=clock, interval_s=settings.board_interval_s)
        leading = Leading(driver=driver, followers=followers, announcer=announcer, assignment=assignment)
        service = RoundsService(rounds=rounds, driver=driver, clock=clock)

        async def serving(yes: bool) -> None:
            await runtime.health.set(SERVICE, yes)

        async def elected() -> None:
            await lead(Lease(store, "rounds", clock=clock), lambda _: leading.run(serving))

        await runtime.add(
            rounds_service_pb2_grpc.add_RoundsServiceServicer_to_server,
            RoundsServicer(service, feed),
            serving=False,
        )
        runtime.background(elected, "lead", leads=True)
        await runtime.serve()


if __name__ == "__main__":
    run(RoundsSettings, main)
