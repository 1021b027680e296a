"""The sources of the chain that the settings name, opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from mesh.clock import Clock
from services.chain.adapters.arc import Arc
from services.chain.adapters.http import HttpSource
from services.chain.adapters.news import open_node_news
from services.chain.adapters.node import open_node
from services.chain.adapters.whatsonchain.news import WhatsOnChainNews
from services.chain.adapters.whatsonchain.reader import WhatsOnChain
from services.chain.adapters.whatsonchain.sending import WhatsOnChainSender
from services.chain.app.fees import FeeQuotes
from services.chain.app.ports import Broadcaster, ChainNews, ChainReader
from services.chain.config import ChainSettings


@dataclass(frozen=True, slots=True)
class Sources:
    """By name, the preferred one first; `quotes` says what miners ask for, if anybody does."""

    readers: Mapping[str, ChainReader]
    broadcasters: Mapping[str, Broadcaster]
    news: ChainNews
    quotes: FeeQuotes | None


@asynccontextmanager
async def open_sources(
    settings: ChainSettings, clock: Clock, callback: Mapping[str, str]
) -> AsyncIterator[Sources]:
    """Read from WhatsOnChain, or the node; send through ARC, or WhatsOnChain, or the node: what is set.

    `callback` are the headers by which ARC is asked to call back.
    """
    readers: dict[str, ChainReader] = {}
    broadcasters: dict[str, Broadcaster] = {}
    quotes: Arc | None = None
    news: ChainNews | None = None
    async with AsyncExitStack() as opened:
        session = await opened.enter_async_context(aiohttp.ClientSession())
        if settings.arc_url:
            source = HttpSource(session, settings.arc_access, clock)
            broadcasters["arc"] = quotes = Arc(source, callback)
        if settings.woc_url:
            source = HttpSource(session, settings.woc_access, clock)
            readers["whatsonchain"] = WhatsOnChain(source, settings.network, clock)
            broadcasters["whatsonchain.sending"] = WhatsOnChainSender(source)
            news = WhatsOnChainNews(session, settings.woc_socket, settings.poll_s)
        if settings.node_address:
            node = await opened.enter_async_context(open_node(settings.node_address, settings.node_timeout_s))
            readers["node"] = broadcasters["node.sending"] = node
        if news is None:
            news = await opened.enter_async_context(open_node_news(settings.node_zmq, settings.poll_s))
        yield Sources(readers, broadcasters, news, quotes)
