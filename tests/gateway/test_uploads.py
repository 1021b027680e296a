"""Uploads by the GraphQL multipart request specification."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.client import Answer, Client, bearer
from tests.gateway.world import World, opened, token_of, until

UPLOAD = """mutation($picture: Upload!, $name: String!) {
  uploadMeme(picture: $picture, name: $name) { name state } }"""
TWICE = """mutation($a: Upload!, $b: Upload!) {
  a: uploadMeme(picture: $a, name: "a") { name } b: uploadMeme(picture: $b, name: "b") { name } }"""
PICTURE = bytes(range(256)) * 2_000
BOUNDARY = "boundary"
PREFLIGHT = {"X-Satreel-Preflight": "1"}


def operations(query: str = UPLOAD, **variables: Any) -> str:
    return json.dumps({"query": query, "variables": {"picture": None, "name": "cat", **variables}})


def part(name: str | None, content: bytes | str, *, file: str = "", more: str = "") -> bytes:
    disposition = "form-data" + (f'; name="{name}"' if name is not None else "")
    disposition += f'; filename="{file}"' if file else ""
    content = content.encode() if isinstance(content, str) else content
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n{more}\r\n".encode() + content + b"\r\n"


def body(
    operations_: str | bytes | None = operations(), map_: str | bytes | None = '{"0": ["variables.picture"]}'
) -> bytes:
    parts = [part("operations", operations_)] if operations_ is not None else []
    parts += [part("map", map_)] if map_ is not None else []
    return b"".join(parts) + part("0", PICTURE, file="cat.png") + f"--{BOUNDARY}--\r\n".encode()


async def upload(client: Client, data: Any, *, token: str = token_of("admin"), **headers: str) -> Answer:
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return await client.send("POST", data=data, headers={**kind, **bearer(token), **PREFLIGHT, **headers})


async def test_an_upload_reaches_content_whole(world: World, client: Client) -> None:
    admin = world.user("admin", admin=True)
    answer = await upload(client, body())
    assert answer.json == {"data": {"uploadMeme": {"name": "cat", "state": "UPLOADED"}}}
    [(header, picture)] = world.content.uploads
    assert (header.name, header.creator_id, picture) == ("cat", "", PICTURE)
    assert world.log.of("UploadMeme")[0].caller.user_id == admin.id


async def test_one_file_in_two_places_is_read_twice(world: World, client: Client) -> None:
    world.user("admin", admin=True)
    places = json.dumps({"0": ["variables.a", "variables.b"]})
    answer = await upload(client, body(operations(TWICE, a=None, b=None), places))
    assert "errors" not in answer.json
    assert [picture for _, picture in world.content.uploads] == [PICTURE, PICTURE]


async def test_the_files_of_others_than_administrators_are_not_read(world: World, client: Client) -> None:
    world.user("ada")
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **PREFLIGHT}
    for token, status, code in ((token_of("ada"), 403, "ADMIN_REQUIRED"), ("", 401, "USER_TOKEN_MISSING")):
        answer = await client.begin({**kind, **bearer(token)}, body())
        assert (answer.status, answer.code) == (status, code)
        # No token came that could be wrong.
        asked = 'Bearer realm="satreel"' if status == 401 else None
        assert answer.headers.get("WWW-Authenticate") == asked
    assert not world.log.of("UploadMeme")


async def test_an_upload_that_does_not_end_is_ended(tmp_path: Path) -> None:
    async with opened(tmp_path, upload_s=0.2) as world:
        world.user("admin", admin=True)
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **PREFLIGHT}
        answer = await world.client.begin({**kind, **bearer(token_of("admin"))}, body()[:-9])
        assert (answer.status, answer.code) == (408, "TOO_SLOW")


async def test_uploads_at_a_time_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, uploads_max=2) as world:
        world.user("admin", admin=True)
        goes_on = world.log.holding["UploadMeme"] = asyncio.Event()
        held = [asyncio.create_task(upload(world.client, body())) for _ in range(2)]
        await until(lambda: len(world.log.of("UploadMeme")) == 2)
        answer = await upload(world.client, body())
        assert (answer.status, answer.code) == (429, "TOO_MANY_UPLOADS")
        goes_on.set()
        assert [(await one).status for one in held] == [200, 200]
        assert (await upload(world.client, body())).status == 200


@pytest.mark.parametrize(
    "header", ["X-Satreel-Preflight", "apollo-require-preflight", "GraphQL-Require-Preflight"]
)
async def test_any_preflight_header_will_do(world: World, client: Client, header: str) -> None:
    world.user("admin", admin=True)
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **bearer(token_of("admin"))}
    assert (await client.send("POST", data=body(), headers={**kind, header: "1"})).status == 200


async def test_without_the_preflight_header_nothing_is_read(world: World, client: Client) -> None:
    world.user("admin", admin=True)
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = await client.send("POST", data=body(), headers={**kind, **bearer(token_of("admin"))})
    assert (answer.status, answer.code) == (400, "PREFLIGHT_REQUIRED")
    assert not world.content.uploads


END = f"--{BOUNDARY}--\r\n".encode()
MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "no parts": END,
    "garbage": b"garbage",
    "cut off": body()[:-40],
    "cut off in the head": body()[:70],
    "no operations": body(None),
    "no map": body(map_=None),
    "operations not JSON": body("{"),
    "operations null": body("null"),
    "operations a number": body("7"),
    "operations a batch": body(f"[{operations()}]"),
    "operations not UTF-8": body(b"\xff\xfe"),
    "operations without variables": body('{"query": "{ metrics { name } }"}'),
    "operations nested": body('{"variables":' * 3_000),
    "query a number": body('{"query": 7, "variables": {"picture": null}}'),
    "map not JSON": body(map_="{"),
    "map null": body(map_="null"),
    "map a list": body(map_='["variables.picture"]'),
    "map with a text": body(map_='{"0": "variables.picture"}'),
    "map with nothing": body(map_='{"0": []}'),
    "map with a number": body(map_='{"0": [7]}'),
    "map with null": body(map_='{"0": [null]}'),
    "map without the file": body(map_="{}"),
    "map with an unknown file": body(map_='{"0": ["variables.picture"], "1": ["variables.picture"]}'),
    "path empty": body(map_='{"0": [""]}'),
    "path to nothing": body(map_='{"0": ["variables.nothing"]}'),
    "path too deep": body(map_='{"0": ["variables.picture.a.b"]}'),
    "path far too deep": body(map_='{"0": ["variables.' + ".a" * 500 + '"]}'),
    "path outside of variables": body(map_='{"0": ["query"]}'),
    "path to a given value": body(map_='{"0": ["variables.name"]}'),
    "path into a list beyond": body(operations(list=[None]), '{"0": ["variables.list.1"]}'),
    "path into a list by name": body(operations(list=[None]), '{"0": ["variables.list.x"]}'),
    "path into a list from behind": body(operations(list=[None]), '{"0": ["variables.list.-1"]}'),
    "path with odd digits": body(operations(list=[None]), '{"0": ["variables.list.\u0660"]}'),
    "seventeen places": body(
        operations(list=[None] * 17), json.dumps({"0": [f"variables.list.{n}" for n in range(17)]})
    ),
    "seven files": b"".join(part(f"f{number}", "x", file="x.png") for number in range(7)) + body(),
    "the same place twice": body(map_='{"0": ["variables.picture", "variables.picture"]}'),
    "part without a name": part(None, "x") + body(),
    "part twice": part("operations", operations()) + body(),
    "part that is multipart": part("1", "x", more="Content-Type: multipart/mixed; boundary=b\r\n") + body(),
    "part with a bad length": part("1", "x", more="Content-Length: many\r\n") + body(),
    "part with an unknown encoding": part("0", "x", more="Content-Transfer-Encoding: odd\r\n") + END,
    "many parts": b"".join(part(f"p{number}", "x") for number in range(20)) + body(),
    "many headers": part("1", "x", more="".join(f"X-{n}: y\r\n" for n in range(500))) + body(),
}


async def test_every_malformed_shape_is_4xx(world: World, client: Client) -> None:
    world.user("admin", admin=True)
    for shape, malformed in MALFORMED.items():
        answer = await upload(client, malformed)
        assert (answer.status, answer.code) == (400, "BAD_REQUEST"), (shape, answer)
    assert not world.content.uploads


async def test_a_bad_boundary_is_4xx(world: World, client: Client) -> None:
    world.user("admin", admin=True)
    for boundary in ("", "; boundary=", f"; boundary={'b' * 99}", "; boundary=\u00e9"):
        answer = await upload(client, body(), **{"Content-Type": f"multipart/form-data{boundary}"})
        assert 400 <= answer.status < 500, boundary
    assert not world.content.uploads


async def test_uploads_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path / "small", request_bytes_max=400_000) as small:
        small.user("admin", admin=True)
        assert (await upload(small.client, body())).status == 413

        async def chunks() -> Any:
            data = body()
            for start in range(0, len(data), 10_000):
                yield data[start : start + 10_000]

        assert (await upload(small.client, chunks())).status == 413
        assert not small.content.uploads


async def test_the_text_of_an_upload_is_bounded(world: World, client: Client) -> None:
    world.user("admin", admin=True)
    answer = await upload(client, body(operations(more="x" * 300_000)))
    assert (answer.status, answer.code) == (413, "TOO_LARGE")
