"""Documents that requests name: automatic persisted queries, trusted documents, answers that caches keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from graphql_gateway.safety import persisted
from graphql_gateway.safety.documents import (
    PERSISTED_CHARS_MAX,
    Documents,
    Named,
    PersistedQueryNotFound,
)
from graphql_gateway.safety.manifests import BadManifest, read_manifests
from graphql_gateway.safety.persisted import RedisStore
from mesh.feeds.stream import client_of
from tests.conftest import ValkeyServer
from tests.gateway.client import WAIT_S, Client
from tests.gateway.world import World, opened, token_of

TIP = "{ tip { height } }"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def apq(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": sha(text)}}


@pytest.fixture
async def redis(own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    # On a busy machine it may be slow, and is not away.
    monkeypatch.setattr(persisted, "REDIS_S", WAIT_S)
    async with aclosing(client_of(own_valkey.url)) as redis:
        yield redis


def store(redis: Redis, *, kept_s: int = 60, kept_max: int = 3) -> RedisStore:
    return RedisStore(redis, kept_s=kept_s, kept_max=kept_max)


async def ask(client: Client, **body: Any) -> Any:
    return await client.send("POST", json=body)


async def test_a_query_is_sent_once_and_then_named(tmp_path: Path, redis: Redis) -> None:
    async with opened(tmp_path / "one", documents=Documents(store(redis))) as one:
        unknown = await ask(one.client, extensions=apq(TIP))
        # As Apollo's clients expect it.
        assert (unknown.status, unknown.code) == (200, "PERSISTED_QUERY_NOT_FOUND")
        assert unknown.error["message"] == "PersistedQueryNotFound"
        accept = {"Accept": "application/graphql-response+json"}
        strict = await one.client.send("POST", json={"extensions": apq(TIP)}, headers=accept)
        assert strict.status == 400
        assert (await ask(one.client, query=TIP, extensions=apq(TIP))).json["data"]["tip"]
        assert (await ask(one.client, extensions=apq(TIP))).json["data"]["tip"]
        async with one.client.socket() as socket:
            await socket.send(id="1", type="subscribe", payload={"extensions": apq(TIP)})
            assert (await socket.data())["tip"]
            assert (await socket.next())["type"] == "complete"
            await socket.send(id="1", type="subscribe", payload={"extensions": apq("{ no }")})
            assert await socket.code() == "PERSISTED_QUERY_NOT_FOUND"
    # Every gateway knows it.
    async with opened(tmp_path / "two", documents=Documents(store(redis))) as two:
        assert (await ask(two.client, extensions=apq(TIP))).json["data"]["tip"]
        assert (await ask(two.client, documentId=f"sha256:{sha(TIP)}")).json["data"]["tip"]


async def test_a_wrong_hash_is_not_believed(tmp_path: Path, redis: Redis) -> None:
    async with opened(tmp_path, documents=Documents(store(redis))) as world:
        forged = await ask(world.client, query="{ metrics { name } }", extensions=apq(TIP))
        assert (forged.status, forged.code) == (400, "BAD_PERSISTED_QUERY")
        assert (await ask(world.client, extensions=apq(TIP))).code == "PERSISTED_QUERY_NOT_FOUND"
        for wrong in (
            "x",
            {"version": 1},
            {"version": 1, "sha256Hash": "A" * 64},
            {"version": 1, "sha256Hash": 7},
        ):
            answer = await ask(world.client, query=TIP, extensions={"persistedQuery": wrong})
            assert (answer.status, answer.code) == (400, "BAD_PERSISTED_QUERY"), wrong
        other = await ask(world.client, extensions={"persistedQuery": {"version": 2}})
        assert other.code == "PERSISTED_QUERY_NOT_SUPPORTED"
        assert (await ask(world.client, documentId="whatever")).code == "PERSISTED_QUERY_NOT_FOUND"
        assert not world.log.calls


async def test_redis_keeps_a_number_of_them_for_a_time(redis: Redis) -> None:
    kept = store(redis)
    texts = [f"{{ a{number}: tip {{ height }} }}" for number in range(5)]
    for text in texts:
        await kept.put(sha(text), text)
    assert [await kept.get(sha(text)) for text in texts] == [None, None, *texts[2:]]
    assert len(await redis.keys("satreel:{documents}:*")) == 4
    assert 0 < await redis.ttl(f"satreel:{{documents}}:{sha(texts[4])}") <= 60
    # Nobody is given what does not have the hash.
    await redis.set(f"satreel:{{documents}}:{sha(TIP)}", "{ other }")
    assert await kept.get(sha(TIP)) is None


async def test_long_texts_are_carried_out_and_not_kept(tmp_path: Path, redis: Redis) -> None:
    # Anybody may send ten thousand of them: they would fill the Redis that all services share.
    async with opened(tmp_path, documents=Documents(store(redis))) as world:
        long = TIP + "#" * PERSISTED_CHARS_MAX
        assert (await ask(world.client, query=long, extensions=apq(long))).json["data"]["tip"]
        assert (await ask(world.client, extensions=apq(long))).code == "PERSISTED_QUERY_NOT_FOUND"
        longest = TIP + "#" * (PERSISTED_CHARS_MAX - len(TIP))
        assert (await ask(world.client, query=longest, extensions=apq(longest))).json["data"]["tip"]
        assert (await ask(world.client, extensions=apq(longest))).json["data"]["tip"]


async def test_without_redis_queries_are_sent_and_this_gateway_remembers(
    redis: Redis, own_valkey: ValkeyServer
) -> None:
    own_valkey.kill()
    documents = Documents(store(redis))
    with pytest.raises(PersistedQueryNotFound):
        await documents.text_of(Named("", sha(TIP)))
    assert await documents.text_of(Named(TIP, sha(TIP))) == TIP
    assert await documents.text_of(Named("", sha(TIP))) == TIP


async def test_what_is_remembered_here_is_bounded() -> None:
    class Nowhere:
        async def get(self, sha256: str) -> str | None:
            return None

        async def put(self, sha256: str, text: str) -> None:
            pass

    documents = Documents(Nowhere())
    large = [f"{{ a }} # {number}".ljust(PERSISTED_CHARS_MAX, "x") for number in range(201)]
    for text in large:
        await documents.text_of(Named(text, sha(text)))
    assert await documents.text_of(Named("", sha(large[-1]))) == large[-1]
    with pytest.raises(PersistedQueryNotFound):
        await documents.text_of(Named("", sha(large[0])))


APOLLO = {
    "format": "apollo-persisted-query-manifest",
    "version": 1,
    "operations": [
        {"id": "apollo-1", "name": "Tip", "type": "query", "body": "query Tip { tip { height } }"}
    ],
}
RELAY = {"0123456789abcdef0123456789abcdef": "query Metrics { metrics { name } }"}


def manifest(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


async def test_production_carries_out_trusted_documents_only(tmp_path: Path) -> None:
    files = [manifest(tmp_path / "apollo.json", APOLLO), manifest(tmp_path / "relay.json", RELAY)]
    documents = Documents(None, read_manifests(files), only_trusted=True)
    async with opened(tmp_path / "world", documents=documents) as world:
        named: list[dict[str, Any]] = [
            {"documentId": "apollo-1"},
            {"documentId": next(iter(RELAY))},
            # By its hash, as Apollo's link names it, and by its text.
            {"extensions": apq("query Tip { tip { height } }")},
            {"query": "query Tip { tip { height } }"},
        ]
        for body in named:
            answer = await ask(world.client, **body)
            assert answer.json["data"], body
        calls = len(world.log.calls)
        refused: tuple[dict[str, Any], ...] = (
            {"query": TIP},
            {"query": TIP, "extensions": apq(TIP)},
            {"query": TIP, "documentId": "apollo-2"},
            {"query": "query Tip { tip { height } } "},
            {"query": "{ __schema { types { name } } }"},
            {"extensions": apq(TIP)},
        )
        for body in refused:
            answer = await ask(world.client, **body)
            assert (answer.status, answer.code) == (403, "DOCUMENT_NOT_TRUSTED"), body
        async with world.client.socket() as socket:
            await socket.subscribe(TIP)
            assert await socket.code() == "DOCUMENT_NOT_TRUSTED"
        assert len(world.log.calls) == calls


@pytest.mark.parametrize(
    "content",
    [[], "text", {"a": 1}, {"format": APOLLO["format"], "version": 2, "operations": []},
     {"format": APOLLO["format"], "version": 1, "operations": [{"id": "a"}]}],
)  # fmt: skip
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(BadManifest):
        read_manifests([manifest(tmp_path / "m.json", content)])


def test_manifests_may_repeat_but_not_contradict_each_other(tmp_path: Path) -> None:
    one = manifest(tmp_path / "one.json", {"a": "{ tip { height } }"})
    two = manifest(tmp_path / "two.json", {"a": "{ tip { hash } }"})
    assert read_manifests([one, one]) == {"a": "{ tip { height } }"}
    with pytest.raises(BadManifest, match="another document"):
        read_manifests([one, two])


async def test_a_document_that_the_schema_no_longer_has_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = Documents(None, {"old": "{ gone }", "good": TIP})
    async with opened(tmp_path, documents=documents):
        told = capsys.readouterr().out
    assert "a trusted document is not valid" in told
    assert "'gone'" in told
    assert "document=good" not in told


PUBLIC = "query P { tip { height } }"
PRIVATE = "query M { me { user { displayName } } }"


async def get(world: World, document: str, headers: dict[str, str] | None = None, **more: str) -> Any:
    params = {"extensions": json.dumps(apq(document)), **more}
    return await world.client.send("GET", params=params, headers=headers)


async def test_caches_may_keep_what_is_everybodys(tmp_path: Path) -> None:
    documents = Documents(None, {"p": PUBLIC, "m": PRIVATE})
    async with opened(tmp_path, documents=documents) as world:
        world.user("ada")
        answer = await get(world, PUBLIC)
        assert answer.headers["Cache-Control"] == "public, max-age=1"
        assert answer.headers["Vary"] == "Accept, Authorization"
        again = await get(world, PUBLIC, {"If-None-Match": answer.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        signed_in = {"Authorization": f"Bearer {token_of('ada')}"}
        private = (
            # Somebody's; a field that is each viewer's own; not named by a hash; an error.
            await get(world, PUBLIC, signed_in),
            await get(world, PRIVATE),
            await world.client.send("GET", params={"query": PUBLIC}),
            await get(world, PUBLIC, operationName="No"),
        )
        for answer in private:
            assert answer.headers.get("Cache-Control", "private, no-store") == "private, no-store", (
                answer.body
            )
            assert "ETag" not in answer.headers
