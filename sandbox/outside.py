"""Outside systems that a setting names: each is asked whether it is there, before anything is started."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from urllib.parse import urlsplit

import aiohttp
import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url
from redis.asyncio import Redis
from redis.exceptions import RedisError

from sandbox.process import SandboxFailure
from sandbox.rpc import NodeLockedOut, NodeRefused, NodeRpc, NodeUnreachable
from sandbox.settings import SandboxSettings

ANSWER_S_MAX = 5.0
NOBODY = "satreel-is-it-there"


class Unreachable(SandboxFailure):
    """An outside system does not answer, or is none that can be played on."""


async def require_answers(settings: SandboxSettings, environment: Mapping[str, str]) -> list[str]:
    """What answered. Raises Unreachable, which names every address that does not and its setting."""
    answers = await asyncio.gather(*_questions(settings, environment), return_exceptions=True)
    if silent := [str(answer) for answer in answers if isinstance(answer, Unreachable)]:
        raise Unreachable("\n".join(silent))
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [str(answer) for answer in answers]


def _questions(
    settings: SandboxSettings, environment: Mapping[str, str]
) -> list[Coroutine[object, object, str]]:
    found: list[Coroutine[object, object, str]] = []
    if node_url := settings.node_url.get_secret_value():
        found.append(_node(node_url))
    if settings.node_zmq:
        found.append(_listener("SATREEL_NODE_ZMQ", settings.node_zmq))
    if settings.redis_url:
        found.append(_redis(settings.redis_url))
    if settings.aitubo_url:
        found.append(_aitubo(settings.aitubo_url))
    if hosts := environment.get("SATREEL_AEROSPIKE_HOSTS", ""):
        found.append(_listener("SATREEL_AEROSPIKE_HOSTS", hosts))
    if files_url := environment.get("SATREEL_CONTENT_FILES_URL", ""):
        found.append(_files(files_url))
    return found


async def _node(url: str) -> str:
    where = f"SATREEL_NODE_URL: {address_of(url)}"
    try:
        async with NodeRpc(url, timeout_s=ANSWER_S_MAX) as rpc:
            chain = await rpc.record("getblockchaininfo")
            if chain.get("chain") != "regtest":
                raise Unreachable(
                    f"{where} is a node of the chain {chain.get('chain')}; rounds are played on "
                    "regtest here, where the launcher mines the blocks and the demo people's coins."
                )
            await rpc.call("getbalance")
    except NodeLockedOut:
        raise Unreachable(f"{where} does not accept this user and password.") from None
    except NodeRefused as refusal:
        raise Unreachable(f"{where} answers, but cannot be used: {refusal.reason}") from None
    except (NodeUnreachable, ValueError) as problem:
        raise _silent(where, "no BSV node answers there (http://user:password@host:port)", problem) from None
    return f"BSV node {address_of(url)} answers: regtest, block {chain.get('blocks')}"


async def _redis(url: str) -> str:
    where = f"SATREEL_REDIS_URL: {address_of(url)}"
    try:
        client = Redis.from_url(url, socket_timeout=ANSWER_S_MAX, socket_connect_timeout=ANSWER_S_MAX)
        async with client:
            await client.ping()
    except (RedisError, OSError, ValueError) as problem:
        raise _silent(where, "no Redis or Valkey answers there (redis://host:port)", problem) from None
    return f"Redis {address_of(url)} answers"


async def _aitubo(url: str) -> str:
    """Any answer is one: what it says to strangers is not known."""
    where = f"SATREEL_AITUBO_URL: {address_of(url)}"
    try:
        deadline = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        async with aiohttp.ClientSession(timeout=deadline) as http, http.get(url):
            return f"AITubo {address_of(url)} answers"
    except (aiohttp.ClientError, TimeoutError, ValueError) as problem:
        raise _silent(where, "nothing answers there (https://host)", problem) from None


async def _files(url: str) -> str:
    where = f"SATREEL_CONTENT_FILES_URL: {url}"
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            await obstore.head_async(from_url(url), NOBODY)
    except FileNotFoundError:
        pass  # it is there, and says that this file is not
    except (BaseError, OSError, ValueError, TimeoutError) as problem:
        raise _silent(
            where, "the store of files does not answer (s3://bucket/prefix, AWS_…)", problem
        ) from None
    return f"files {url} answer"


async def _listener(setting: str, addresses: str) -> str:
    """One of several hosts is enough."""
    problem: Exception = ValueError("no host:port")
    for address in addresses.split(","):
        try:
            parts = urlsplit(address if "//" in address else f"//{address.strip()}")
            async with asyncio.timeout(ANSWER_S_MAX):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port or 0)
            writer.close()
            return f"{address.strip()} listens ({setting})"
        except (OSError, ValueError, TimeoutError) as found:
            problem = found
    raise _silent(f"{setting}: {addresses}", "nothing listens there", problem)


def address_of(url: str) -> str:
    """The address without user and password, for people."""
    scheme, slashes, rest = url.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def _silent(where: str, what: str, problem: Exception) -> Unreachable:
    reason = str(problem).strip().splitlines()[:1] or [type(problem).__name__]
    return Unreachable(f"{where}: {what}: {reason[0][:200]}")
