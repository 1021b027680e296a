"""Media: ranges, conditions, and who gets what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yarl
from satreel.content.v1 import content_pb2
from satreel.ledger.v1 import ledger_pb2

from mesh.errors import Unavailable
from mesh.ids import uuid7
from tests.gateway.client import Answer, Client, bearer
from tests.gateway.fakes import FILM, PIECE_BYTES, POSTER
from tests.gateway.world import World, token_of, until

ETAG = f'"{"ab" * 32}"'
SIZE = len(FILM)


@pytest.fixture
def meme(world: World) -> content_pb2.Meme:
    return world.meme("cat", world.user("ada"))


async def film(
    client: Client, meme: content_pb2.Meme, token: str = token_of("ada"), **headers: str
) -> Answer:
    return await client.send("GET", f"/media/{meme.id}/film", headers={**bearer(token), **headers})


async def test_the_whole_film(client: Client, meme: content_pb2.Meme) -> None:
    answer = await film(client, meme)
    assert (answer.status, answer.body) == (200, FILM)
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == ETAG
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-", 0, SIZE - 1),
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        (f"bytes=10-{PIECE_BYTES * 2}", 10, PIECE_BYTES * 2),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        (f"bytes=5-{SIZE * 2}", 5, SIZE - 1),
        ("bytes=-100", SIZE - 100, SIZE - 1),
        (f"bytes=-{SIZE * 2}", 0, SIZE - 1),
    ],
)
async def test_a_part_of_the_film(
    client: Client, meme: content_pb2.Meme, asked: str, first: int, last: int
) -> None:
    answer = await film(client, meme, Range=asked)
    assert (answer.status, answer.body) == (206, FILM[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.headers["Content-Length"] == str(last - first + 1)


async def test_what_is_no_single_range_gets_the_whole(client: Client, meme: content_pb2.Meme) -> None:
    for asked in ("bytes=0-1,5-6", "bytes=5-2", "bytes=", "bytes=-", "items=0-1", "bytes=a-b", "nonsense"):
        answer = await film(client, meme, Range=asked)
        assert (answer.status, len(answer.body)) == (200, SIZE), asked
        assert "Content-Range" not in answer.headers


async def test_a_range_beyond_the_end_is_416_and_names_the_size(
    client: Client, meme: content_pb2.Meme
) -> None:
    for asked in (f"bytes={SIZE}-", f"bytes={SIZE * 9}-{SIZE * 10}", "bytes=-0"):
        answer = await film(client, meme, Range=asked)
        assert (answer.status, answer.code) == (416, "RANGE_INVALID"), asked
        assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


async def test_head_tells_without_a_body(client: Client, meme: content_pb2.Meme) -> None:
    path, headers = f"/media/{meme.id}/film", bearer(token_of("ada"))
    answer = await client.send("HEAD", path, headers=headers)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(SIZE)
    answer = await client.send("HEAD", path, headers={**headers, "Range": "bytes=10-19"})
    assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes 10-19/{SIZE}")


async def test_conditions(client: Client, meme: content_pb2.Meme) -> None:
    for known in (ETAG, "*", f"W/{ETAG}", f'"other", {ETAG}'):
        answer = await film(client, meme, **{"If-None-Match": known})
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", ETAG), known
    assert (await film(client, meme, **{"If-None-Match": '"other"'})).status == 200
    part = {"Range": "bytes=0-9"}
    assert (await film(client, meme, **part, **{"If-Range": ETAG})).status == 206
    changed = await film(client, meme, **part, **{"If-Range": '"other"'})
    assert (changed.status, len(changed.body)) == (200, SIZE)


async def test_everybody_gets_posters(client: Client, meme: content_pb2.Meme) -> None:
    answer = await client.send("GET", f"/media/{meme.id}/poster")
    assert (answer.status, answer.body) == (200, POSTER)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"].startswith("public")


async def test_what_a_viewer_may_have_is_not_kept_for_everybody(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    # Content gives its creator the poster in every state, taken down too.
    answer = await client.send("GET", f"/media/{meme.id}/poster", headers=bearer(token_of("ada")))
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "private, no-store")


async def test_films_go_to_creator_owner_and_administrators(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    owner = world.user("owner")
    world.user("admin", admin=True)
    world.user("stranger")
    world.ledger.titles[meme.id].owner_id = owner.id
    for name in ("ada", "owner", "admin"):
        assert (await film(client, meme, token_of(name))).status == 200, name
    for token in (token_of("stranger"), ""):
        answer = await film(client, meme, token)
        assert (answer.status, answer.code) == (403, "FILE_FORBIDDEN")
    # Owning a title shows the film, not what it was made from.
    for name, status in (("ada", 200), ("admin", 200), ("owner", 403), ("stranger", 403)):
        path = f"/media/{meme.id}/picture"
        assert (await client.send("GET", path, headers=bearer(token_of(name)))).status == status, name


def watching(world: World, meme: content_pb2.Meme) -> ledger_pb2.Session:
    session = ledger_pb2.Session(id=uuid7(), viewer_id=uuid7(), meme_id=meme.id)
    world.ledger.sessions[session.id] = session
    return session


async def test_a_ticket_works_while_its_viewing_runs(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    session = watching(world, meme)
    url = world.tickets.film_url(session.id, meme.id)
    answer = await client.send("GET", url, headers={"Range": "bytes=0-9"})
    assert (answer.status, answer.body) == (206, FILM[:10])
    session.stop_reason = ledger_pb2.STOP_REASON_CLOSED
    assert (await client.send("GET", url)).status == 403
    del world.ledger.sessions[session.id]
    assert (await client.send("GET", url)).status == 403


async def test_a_ticket_is_good_for_one_film_and_cannot_be_forged(
    world: World, client: Client, meme: content_pb2.Meme
) -> None:
    session, other = watching(world, meme), world.meme("dog", world.user("bob"))
    url = world.tickets.film_url(session.id, meme.id)
    ticket = url.partition("ticket=")[2]
    forged: list[Any] = [
        url.replace(f"/media/{meme.id}", f"/media/{other.id}"),
        f"/media/{other.id}/film?ticket=" + ticket.replace(meme.id, other.id),
        url[:-1] + ("A" if url[-1] != "A" else "B"),
        f"/media/{meme.id}/film?ticket={session.id}.{meme.id}.",
        f"/media/{meme.id}/film?ticket={session.id}",
        f"/media/{meme.id}/film?ticket=%FF%00.caf%C3%A9.%F0%9F%98%80",
        f"/media/{meme.id}/film?ticket=..",
        f"/media/{meme.id}/film",
    ]
    for address in forged:
        assert (await client.send("GET", address)).status == 403, address
    assert (await client.send("GET", url)).status == 200


async def test_what_is_not_there_is_404_and_a_bad_id_400(client: Client, world: World) -> None:
    answer = await client.send("GET", f"/media/{uuid7()}/poster")
    assert (answer.status, answer.code) == (404, "MEME_NOT_FOUND")
    answer = await client.send("GET", "/media/nonsense/poster")
    assert (answer.status, answer.code) == (400, "BAD_ID")
    assert (await client.send("GET", f"/media/{uuid7()}/nonsense")).status == 404
    bad = await client.send("GET", f"/media/{uuid7()}/poster", headers=bearer("forged-forged-forged"))
    assert (bad.status, bad.code) == (401, "SESSION_INVALID")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_client_that_hangs_up_is_no_error(
    method: str, world: World, client: Client, meme: content_pb2.Meme, caplog: pytest.LogCaptureFixture
) -> None:
    held = world.log.holding["ReadMedia"] = asyncio.Event()
    url = yarl.URL(world.url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = [f"{method} /media/{meme.id}/poster HTTP/1.1", "Host: gateway", "", ""]
    writer.write("\r\n".join(head).encode())
    await until(lambda: world.log.of("ReadMedia"))
    writer.transport.abort()
    await asyncio.sleep(0.1)
    held.set()
    await asyncio.sleep(0.2)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert (await client.send("GET", f"/media/{meme.id}/poster")).status == 200


async def test_services_that_are_away_or_break(world: World, client: Client, meme: content_pb2.Meme) -> None:
    world.log.failing["ReadMedia"] = Unavailable("storage is away")
    answer = await film(client, meme)
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    world.log.failing["ReadMedia"] = RuntimeError("hunter2")
    answer = await film(client, meme)
    assert (answer.status, answer.code) == (500, "INTERNAL")
    assert b"hunter2" not in answer.body
