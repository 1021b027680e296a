"""The AITubo stand-in by its own protocol: films decoded and measured, errors in every shape it knows."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
import psutil
import pytest
from aiohttp import web
from PIL import Image

from sandbox.aitubo.config import AituboSettings
from sandbox.aitubo.film import FilmOrder, Flaw, render_film
from sandbox.aitubo.server import running_aitubo
from sandbox.pictures import Aspect, PictureFormat, meme_bytes
from sandbox.process import free_port, start_child

KEY = "test-key"
SHORT_S = 0.4
# Of a slow machine; it is 1.5 to 2.
FILM_CPU_S_MAX = 20.0
Answer = dict[str, Any]  # JSON, whose shapes are what these tests look at


@dataclass(frozen=True)
class Measured:
    codec: str
    size: tuple[int, int]
    rate: float
    times: list[float]
    steps: list[float]  # mean change of brightness from frame to frame
    brightness: float


def measure(film: bytes) -> Measured:
    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        pixels = [frame.to_ndarray(format="gray").astype(np.int16) for frame in frames]
        return Measured(
            stream.codec_context.name,
            (stream.width, stream.height),
            float(stream.average_rate or 0),
            [float(frame.time or 0) for frame in frames],
            [float(np.abs(b - a).mean()) for a, b in itertools.pairwise(pixels)],
            float(pixels[0].mean()),
        )


def decodable_frames(film: bytes) -> int:
    """How many frames come out before the file breaks."""
    count = 0
    with contextlib.suppress(av.FFmpegError), av.open(io.BytesIO(film), "r") as container:
        for _ in container.decode(video=0):
            count += 1
    return count


@dataclass(frozen=True)
class House:
    url: str
    pictures: str
    http: aiohttp.ClientSession

    async def post(self, path: str, body: object, key: str = KEY) -> tuple[int, Answer]:
        headers = {"Authorization": f"Bearer {key}"}
        async with self.http.post(self.url + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def poll(self, path: str, job_id: str) -> Answer:
        """Until the status is final; with no key, as some clients do."""
        async with asyncio.timeout(120):
            while True:
                async with self.http.get(self.url + path, params={"id": job_id}) as response:
                    answer: Answer = await response.json()
                if answer["data"]["status"] in (2, 3):
                    return answer
                await asyncio.sleep(0.05)

    async def film(self, **body: object) -> Answer:
        _, created = await self.post("/api/job/create-video", {"image": self.pictures + "/wide", **body})
        assert created["code"] == 0
        assert len(bytes.fromhex(created["data"]["id"])) == 12
        return await self.poll("/api/job/get-video", created["data"]["id"])

    async def fetch(self, data: Answer, path: str) -> bytes:
        url = data["domain"].rstrip("/") + "/" + path.lstrip("/")
        async with self.http.get(url) as response:
            assert response.status == 200
            return await response.read()

    async def fault(self, *kinds: str, **more: object) -> None:
        orders = [{"kind": kind, **more} for kind in kinds]
        status, _ = await self.post("/_control", {"reset": True, "faults": orders})
        assert status == 200


async def _picture(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if name == "broken":
        return web.Response(body=b"no picture at all")
    if name == "huge":
        return web.Response(body=bytes(11_000_000))
    aspect = Aspect.WIDE if name == "wide" else Aspect.SQUARE
    return web.Response(body=meme_bytes(5, aspect, PictureFormat.JPEG))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    app = web.Application()
    app.router.add_get("/{name:wide|square|broken|huge}", _picture)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = AituboSettings(
        key=KEY, port=0, data_dir=tmp_path, film_seconds=SHORT_S, queue_max=4, jobs_max=6
    )
    async with running_aitubo(settings) as url, aiohttp.ClientSession() as http:
        yield House(url, f"http://127.0.0.1:{runner.addresses[0][1]}", http)
    await runner.cleanup()


@pytest.mark.parametrize("aspect", list(Aspect))
def test_a_film_is_hd_steady_and_alive(aspect: Aspect, tmp_path: Path) -> None:
    film, cover = tmp_path / "film.mp4", tmp_path / "cover.jpg"
    render_film(meme_bytes(1, aspect, PictureFormat.JPEG), FilmOrder(seed=1, seconds=1.0), film, cover)
    measured = measure(film.read_bytes())
    assert measured.codec == "h264"
    assert measured.size == (1920, 1080)
    assert measured.rate == 30
    assert len(measured.times) == 30
    assert np.allclose(np.diff(measured.times), 1 / 30)
    assert min(measured.steps) > 0.3
    assert max(measured.steps) < 3 * min(measured.steps)
    assert measured.brightness > 20
    with Image.open(cover) as picture:
        assert picture.size == (1920, 1080)
    head = film.read_bytes()[:4096]
    assert head.index(b"moov") < 100  # the index comes first: a film can start before it is loaded


def test_a_film_of_two_seconds_is_cheap_and_the_same_again(tmp_path: Path) -> None:
    picture = meme_bytes(2, Aspect.WIDE, PictureFormat.JPEG)
    me = psutil.Process()
    before = sum(me.cpu_times()[:2])
    render_film(picture, FilmOrder(seed=9), tmp_path / "a.mp4", tmp_path / "a.jpg")
    assert sum(me.cpu_times()[:2]) - before < FILM_CPU_S_MAX
    short = FilmOrder(seed=9, seconds=SHORT_S)
    for name in ("b", "c"):
        render_film(picture, short, tmp_path / f"{name}.mp4", tmp_path / f"{name}.jpg")
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "c.mp4").read_bytes()


@pytest.mark.parametrize("flaw", list(Flaw))
def test_flaws_are_what_they_say(flaw: Flaw, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    picture = meme_bytes(3, Aspect.WIDE, PictureFormat.JPEG)
    render_film(picture, FilmOrder(seed=1, seconds=SHORT_S, flaw=flaw), film, tmp_path / "cover.jpg")
    if flaw is Flaw.TRUNCATED:
        assert decodable_frames(film.read_bytes()) < 12
        return
    measured = measure(film.read_bytes())
    assert (measured.codec != "h264") is (flaw is Flaw.WRONG_CODEC)
    assert (measured.size != (1920, 1080)) is (flaw is Flaw.WRONG_SIZE)
    assert (measured.rate != 30) is (flaw is Flaw.WRONG_RATE)
    assert (max(measured.steps) < 0.3) is (flaw in (Flaw.STILL, Flaw.BLACK))
    assert (measured.brightness < 1) is (flaw is Flaw.BLACK) or measured.brightness < 20
    if flaw is Flaw.JERKY:
        assert np.median(measured.steps) < 0.3 < max(measured.steps)


async def test_a_video_job_from_order_to_film(house: House) -> None:
    answer = await house.film(seed=4)
    assert answer["code"] == 0
    assert answer["message"] == ""
    assert "info" not in answer
    data = answer["data"]["result"]["data"]
    measured = measure(await house.fetch(data, data["video"]))
    assert (measured.codec, measured.size, len(measured.times)) == ("h264", (1920, 1080), 12)
    with Image.open(io.BytesIO(await house.fetch(data, data["image"]))) as cover:
        assert cover.size == (1920, 1080)


async def test_an_image_job_from_order_to_pictures(house: House) -> None:
    order = {
        "prompt": "comic",
        "imagePath": house.pictures + "/square",
        "count": 2,
        "width": 512,
        "height": 512,
    }
    _, created = await house.post("/api/job/create", {**order, "strength": 0.9, "modelId": "any"})
    assert created == {"code": 0, "info": "", "data": created["data"]}
    answer = await house.poll("/api/job/get", created["data"]["id"])
    assert answer["info"] == ""
    data = answer["data"]["result"]["data"]
    assert len(data["images"]) == len(data["artIds"]) == len(data["nsfws"]) == 2
    pictures = [await house.fetch(data, path) for path in data["images"]]
    assert pictures[0] != pictures[1]
    original = np.asarray(Image.open(io.BytesIO(meme_bytes(5, Aspect.SQUARE, PictureFormat.JPEG))), np.int16)
    with Image.open(io.BytesIO(pictures[0])) as picture:
        assert picture.size == (1080, 1080)
        assert np.abs(np.asarray(picture, np.int16) - original).mean() > 3


async def test_addresses_come_with_the_slash_in_either_place(house: House) -> None:
    seen = set()
    for _ in range(4):
        body = {"imagePath": house.pictures + "/wide", "width": 1080, "height": 1080}
        _, created = await house.post("/api/job/create", body)
        data = (await house.poll("/api/job/get", created["data"]["id"]))["data"]["result"]["data"]
        seen.add((data["domain"].endswith("/"), data["images"][0].startswith("/")))
    assert len(seen) == 4


async def test_wrong_keys_wrong_orders_and_unknown_jobs(house: House) -> None:
    for path, text in (("/api/job/create", "info"), ("/api/job/create-video", "message")):
        status, answer = await house.post(path, {}, key="wrong")
        assert (status, answer["code"] != 0, bool(answer[text])) == (401, True, True)
        status, answer = await house.post(path, {"image": 5})
        assert (status, answer["code"] != 0, answer["data"]) == (200, True, None)
        assert "image" in answer[text]
    async with house.http.get(house.url + "/api/job/get-video", params={"id": "00" * 12}) as response:
        assert (await response.json())["message"] == "job not found"
    async with house.http.get(house.url + "/files/" + "00" * 12 + "/film.mp4") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("/broken", "not readable"),
        ("/huge", "too large"),
        ("/missing", "answered 404"),
        ("file:///etc/passwd", "not http"),
    ],
)
async def test_pictures_that_cannot_be_had_fail_the_job(house: House, image: str, reason: str) -> None:
    answer = await house.film(image=house.pictures + image if image.startswith("/") else image)
    assert answer["code"] == 0
    assert answer["data"]["status"] == 3
    assert reason in answer["data"]["result"]["message"]


async def test_faults_on_requests(house: House) -> None:
    await house.fault("http_401", "http_403", "http_429", "http_500", "no_json", "drop_connection")
    url = house.url + "/api/job/get-video"
    for status, kind in ((401, "json"), (403, "html"), (429, "json"), (500, "json"), (200, "html")):
        async with house.http.get(url) as response:
            assert response.status == status
            assert kind in response.content_type
    with pytest.raises(aiohttp.ClientError):
        await house.http.post(url.replace("get", "create"), json={})
    async with house.http.get(url) as response:
        assert (await response.json())["message"] == "job not found"


async def test_faults_on_jobs(house: House) -> None:
    await house.fault("fail_job", "still_film")
    assert (await house.film())["data"]["result"]["message"] == "generation failed"
    data = (await house.film())["data"]["result"]["data"]
    assert max(measure(await house.fetch(data, data["video"])).steps) < 0.3


async def test_a_full_queue_says_429_and_answers_stay_quick(house: House) -> None:
    await house.fault("slow", times=20, seconds=300)
    orders = [house.post("/api/job/create-video", {"image": house.pictures + "/wide"}) for _ in range(10)]
    answers = [await order for order in orders]
    assert [status for status, _ in answers].count(429) >= 4
    begun = asyncio.get_running_loop().time()
    job_id = answers[0][1]["data"]["id"]
    async with house.http.get(house.url + "/api/job/get-video", params={"id": job_id}) as response:
        assert (await response.json())["data"] == {"status": 1, "result": None}
    # The jobs take longer.
    assert asyncio.get_running_loop().time() - begun < 120


async def test_unknown_faults_are_refused_and_change_nothing(house: House) -> None:
    headers = {"Content-Type": "application/json"}
    for body in ('{"faults": [{"kind": "no_such"}]}', '{"fault": 1}', "no json"):
        async with house.http.post(house.url + "/_control", data=body, headers=headers) as response:
            assert response.status == 400
    async with house.http.get(house.url + "/_control") as response:
        assert await response.json() == {"waiting": []}


async def test_as_a_process_it_tells_its_address_and_what_it_lacks(tmp_path: Path) -> None:
    async def run(name: str, *arguments: str) -> tuple[int | None, str]:
        command = [sys.executable, "-m", "sandbox.aitubo", "--data-dir", str(tmp_path / "data"), *arguments]
        child = await start_child(name, command, log_path=tmp_path / name)
        async with asyncio.timeout(120):
            while child.exit_code is None and not child.log_tail():
                await asyncio.sleep(0.02)
        if "--key" not in arguments:
            assert await child.ended_within(50)
        await child.stop()
        return child.exit_code, child.log_tail()

    code, text = await run("good", "--key", KEY, "--port", str(port := free_port()))
    assert (code, text) == (0, f"AITubo stand-in at http://127.0.0.1:{port}")
    code, text = await run("keyless", "--port", "0")
    assert (code, text) == (1, "SATREEL_SANDBOX_AITUBO_KEY: Field required")
