"""The whole of content as a process, over its contract, with a real queue and really rendered films."""

from __future__ import annotations

from pathlib import Path

import psutil
from pydantic import SecretStr
from satreel.content.v1 import content_pb2

from mesh.ids import uuid7
from sandbox.aitubo.config import AituboSettings
from sandbox.aitubo.server import running_aitubo
from sandbox.pictures import Aspect, PictureFormat, meme_bytes
from tests.content.peers import running_peers
from tests.content.process import PATIENCE_S, ContentProcess, pieces, until

KEY = "not-a-secret"
RSS_BYTES_MAX = 200_000_000
ORDERED = (
    content_pb2.MEME_STATE_RENDERING, content_pb2.MEME_STATE_CHECKING, content_pb2.MEME_STATE_TITLING,
)  # fmt: skip


def aitubo_settings(folder: Path) -> AituboSettings:
    return AituboSettings(
        key=SecretStr(KEY), port=0, data_dir=folder / "aitubo", film_seconds=0.6, niceness=0
    )


async def test_a_picture_becomes_a_published_film_across_a_kill(tmp_path: Path, valkey_url: str) -> None:
    creator, meme_id = uuid7(), uuid7()
    data = meme_bytes(3, Aspect.WIDE, PictureFormat.JPEG)
    async with (
        running_peers(tmp_path, creator) as peers,
        running_aitubo(aitubo_settings(tmp_path)) as aitubo_url,
    ):
        peers.ledger.away = True  # nothing is published before the kill
        content = ContentProcess(tmp_path, valkey_url, peers, aitubo_url, KEY)
        await content.start()
        async with content.stub() as stub:
            with content.acting(creator, "admin"):
                meme = (await stub.UploadMeme(pieces(data, meme_id=meme_id), timeout=PATIENCE_S)).meme
            assert meme.state == content_pb2.MEME_STATE_UPLOADED
            await until(stub, meme_id, *ORDERED)
            await content.kill()
            peers.ledger.away = False
            await content.start()
            published = await until(stub, meme_id, content_pb2.MEME_STATE_PUBLISHED)
            assert published.quality >= 0.8
            assert peers.ledger.owners == {meme_id: creator}
            assert list(peers.chain.inscribed) == [meme_id]
            assert psutil.Process(content.pid).memory_info().rss < RSS_BYTES_MAX
            print("rss", psutil.Process(content.pid).memory_info().rss / 1e6)
        assert await content.stop() == 0
        assert KEY not in content.log
