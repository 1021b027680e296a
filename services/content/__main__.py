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

from mesh.clock import Clock
from mesh.feeds import Feed, open_feed
from mesh.records import Store, open_store
from mesh.runtime import Runtime, run
from services.content.adapters.aitubo import Aitubo, AituboAccess
from services.content.adapters.files import open_files
from services.content.adapters.incoming import IncomingFolder
from services.content.adapters.instance import sole_instance
from services.content.adapters.media import PictureDoor, PictureLinks, link_key
from services.content.adapters.peers import GrpcCreators, GrpcTitles
from services.content.adapters.queue import PatientQueue, SaqQueue, open_queue, work
from services.content.adapters.records import SETS, ClaimRecords, MemeRecords, ShelfRecords
from services.content.adapters.workshop import ProcessWorkshop, WorkshopLimits
from services.content.app.parts import Parts, Rules, World
from services.content.app.pipeline import LEASE_MARGIN_S
from services.content.app.steps import Patience
from services.content.app.sweeping import sweep_for_ever
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
        await runtime.enter(sole_instance(settings.lock_path))
        store = await runtime.enter(open_store(settings, SETS))
        feed = await runtime.enter(open_feed(settings.redis_url, FEED))
        jobs = await runtime.enter(open_queue(settings.redis_url))
        links = await links_of(settings, runtime.clock)
        world = await open_world(runtime, settings, store, feed=feed, jobs=jobs, links=links)
        parts = Parts(world, rules_of(settings))
        # Before any work: afterwards a lease of ours may be alive.
        await parts.pipeline.recover()
        host, _, port = settings.media_listen.rpartition(":")
        await runtime.enter(PictureDoor(links=links, files=world.files).listening(host, int(port)))
        await runtime.add(
            content_service_pb2_grpc.add_ContentServiceServicer_to_server, ContentServicer(parts, feed)
        )
        runtime.background(
            partial(
                work, jobs, parts.pipeline.advance, workers=settings.workers, grace_s=settings.stop_grace_s
            ),
            "workers",
        )
        runtime.background(
            partial(
                sweep_for_ever,
                pipeline=parts.pipeline,
                uploading=parts.uploading,
                clock=runtime.clock,
                every_s=settings.sweep_s,
            ),
            "sweep",
        )
        await runtime.serve()


async def open_world(
    runtime: Runtime,
    settings: ContentSettings,
    store: Store,
    *,
    feed: Feed,
    jobs: PatientQueue,
    links: PictureLinks,
) -> World:
    """What content stands on, as this process reaches it. What lay half received is gone."""
    clock = runtime.clock
    http = await runtime.enter(aiohttp.ClientSession())
    incoming = IncomingFolder(settings.incoming_dir)
    await incoming.clear()
    memes = MemeRecords(store)
    return World(
        memes=memes,
        claims=ClaimRecords(store),
        shelf=ShelfRecords(store, memes),
        files=open_files(settings.files_url, settings.files_dir),
        incoming=incoming,
        workshop=workshop_of(settings),
        renderer=Aitubo(http=http, access=access_of(settings), links=links, clock=clock),
        creators=GrpcCreators(identity_service_pb2_grpc.IdentityServiceStub(runtime.channel("identity"))),
        titles=GrpcTitles(
            ledger_service_pb2_grpc.LedgerServiceStub(runtime.channel("ledger")),
            chain_service_pb2_grpc.ChainServiceStub(runtime.channel("chain")),
        ),
        queue=SaqQueue(jobs, clock, round(settings.step_s + LEASE_MARGIN_S)),
        news=FeedNews(feed),
        clock=clock,
        chance=random.Random(),  # noqa: S311 - spreads retries, guards nothing
        new_token=partial(secrets.token_hex, 8),
    )


async def links_of(settings: ContentSettings, clock: Clock) -> PictureLinks:
    """The links by which AITubo fetches pictures while it renders."""
    return PictureLinks(
        base_url=settings.media_url or f"http://{settings.media_listen}",
        key=await asyncio.to_thread(link_key, settings.link_key_path),
        valid_s=settings.render_s + LINK_MARGIN_S,
        clock=clock,
    )


def rules_of(settings: ContentSettings) -> Rules:
    """How content is to behave."""
    patience = Patience(
        poll_s=settings.poll_s,
        render_s_max=settings.render_s,
        versions_max=settings.versions_max,
        orders_max=settings.orders_max,
    )
    return Rules(instance=settings.instance, step_s_max=settings.step_s, patience=patience)


def access_of(settings: ContentSettings) -> AituboAccess:
    """How AITubo is asked."""
    return AituboAccess(
        url=settings.aitubo_url,
        key=settings.aitubo_key.get_secret_value(),
        template=settings.aitubo_template,
        call_s_max=settings.aitubo_call_s,
        download_s_max=settings.download_s,
        film_bytes_max=settings.film_bytes_max,
    )


def workshop_of(settings: ContentSettings) -> ProcessWorkshop:
    """Where files are decoded: in processes that may use so much memory and time."""
    return ProcessWorkshop(
        pictures=WorkshopLimits(settings.picture_memory_bytes, settings.picture_s, settings.processes_max),
        films=WorkshopLimits(settings.film_memory_bytes, settings.film_s, settings.processes_max),
        bounds=PictureBounds(),
    )


if __name__ == "__main__":
    run(ContentSettings, main)
