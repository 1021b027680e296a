"""Starts content. Reads as a recipe."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
from functools import partial

import aiohttp
from satreel.chain.v1 import chain_service_pb2_grpc
from satreel.content.v1 import content_service_pb2_grpc
from satreel.identity.v1 import identity_service_pb2_grpc
from satreel.ledger.v1 import ledger_service_pb2_grpc

from mesh.feeds import open_feed
from mesh.records import open_store
from mesh.runtime import Runtime, run
from services.content.adapters.aitubo import Aitubo, AituboAccess
from services.content.adapters.files import open_files
from services.content.adapters.incoming import IncomingFolder
from services.content.adapters.instance import sole_instance
from services.content.adapters.media import PictureDoor, PictureLinks, link_key
from services.content.adapters.peers import GrpcCreators, GrpcTitles
from services.content.adapters.queue import SaqQueue, open_queue, work
from services.content.adapters.records import SETS, ClaimRecords, MemeRecords, ShelfRecords
from services.content.adapters.workshop import ProcessWorkshop, WorkshopLimits
from services.content.app.claiming import Claiming
from services.content.app.moderating import Moderating
from services.content.app.pipeline import LEASE_MARGIN_S, Pipeline
from services.content.app.reading import Reading
from services.content.app.steps import Patience, Steps
from services.content.app.sweeping import sweep_for_ever
from services.content.app.uploading import Uploading
from services.content.config import ContentSettings
from services.content.domain.pictures import PictureBounds
from services.content.rpc.news import FEED, FeedNews
from services.content.rpc.servicer import ContentServicer

LINK_MARGIN_S = 600.0


async def main(settings: ContentSettings) -> None:
    """Composes the service and serves until stopped."""
    # Decoding processes never call gRPC: its fork handlers would only get in their way. Read at first use.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    async with Runtime(settings) as runtime:
        clock = runtime.clock
        await runtime.enter(sole_instance(settings.lock_path))
        store = await runtime.enter(open_store(settings, SETS))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED))
        saq = await runtime.enter(open_queue(settings.redis_url))
        http = await runtime.enter(aiohttp.ClientSession())
        memes, claims = MemeRecords(store), ClaimRecords(store)
        shelf = ShelfRecords(store, memes)
        files = open_files(settings.files_url, settings.files_dir)
        incoming = IncomingFolder(settings.incoming_dir)
        await incoming.clear()
        news = FeedNews(feed)
        queue = SaqQueue(saq, clock, round(settings.step_s + LEASE_MARGIN_S))
        workshop = _workshop(settings)
        creators = GrpcCreators(identity_service_pb2_grpc.IdentityServiceStub(runtime.channel("identity")))
        titles = GrpcTitles(
            ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger")),
            chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain")),
        )
        links = PictureLinks(
            base_url=settings.media_url or f"http://{settings.media_listen}",
            key=await asyncio.to_thread(link_key, settings.link_key_path),
            valid_s=settings.render_s + LINK_MARGIN_S,
            clock=clock,
        )
        renderer = Aitubo(http=http, access=_access(settings), links=links, clock=clock)

        claiming = Claiming(claims=claims, memes=memes, clock=clock, new_token=partial(secrets.token_hex, 8))
        steps = Steps(
            renderer=renderer,
            files=files,
            incoming=incoming,
            workshop=workshop,
            titles=titles,
            shelf=shelf,
            claiming=claiming,
            news=news,
            clock=clock,
            patience=_patience(settings),
        )
        pipeline = Pipeline(
            memes=memes,
            steps=steps,
            queue=queue,
            news=news,
            clock=clock,
            step_s_max=settings.step_s,
            instance=settings.instance,
            chance=random.Random(),  # noqa: S311 - spreads retries, guards nothing
        )
        uploading = Uploading(
            memes=memes,
            claiming=claiming,
            files=files,
            incoming=incoming,
            workshop=workshop,
            creators=creators,
            queue=queue,
            news=news,
            clock=clock,
        )
        servicer = ContentServicer(
            uploading=uploading,
            reading=Reading(memes=memes, shelf=shelf, files=files),
            moderating=Moderating(memes=memes, pipeline=pipeline, clock=clock),
            pipeline=pipeline,
            feed=feed,
        )
        # Before any work: afterwards a lease of ours may be alive.
        await pipeline.recover()
        host, _, port = settings.media_listen.rpartition(":")
        await runtime.enter(PictureDoor(links=links, files=files).listening(host, int(port)))
        await runtime.add(content_service_pb2_grpc.add_ContentServiceServicer_to_server, servicer)
        runtime.background(
            partial(work, saq, pipeline.advance, workers=settings.workers, grace_s=settings.stop_grace_s),
            "workers",
        )
        sweep = partial(
            sweep_for_ever, pipeline=pipeline, uploading=uploading, clock=clock, every_s=settings.sweep_s
        )
        runtime.background(sweep, "sweep")
        await runtime.serve()


def _access(settings: ContentSettings) -> AituboAccess:
    return AituboAccess(
        url=settings.aitubo_url,
        key=settings.aitubo_key.get_secret_value(),
        template=settings.aitubo_template,
        call_s_max=settings.aitubo_call_s,
        download_s_max=settings.download_s,
        film_bytes_max=settings.film_bytes_max,
    )


def _patience(settings: ContentSettings) -> Patience:
    return Patience(
        poll_s=settings.poll_s,
        render_s_max=settings.render_s,
        versions_max=settings.versions_max,
        orders_max=settings.orders_max,
    )


def _workshop(settings: ContentSettings) -> ProcessWorkshop:
    return ProcessWorkshop(
        pictures=WorkshopLimits(settings.picture_memory_bytes, settings.picture_s, settings.processes_max),
        films=WorkshopLimits(settings.film_memory_bytes, settings.film_s, settings.processes_max),
        bounds=PictureBounds(),
    )


if __name__ == "__main__":
    run(ContentSettings, main)
