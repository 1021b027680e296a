"""WhatsOnChain: chain, blocks and headers. There are no raw blocks, only their transactions' ids in pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.explorers.headers import header_bytes
from sandbox.explorers.index import IndexedBlock
from sandbox.explorers.view import View, answer, hash_in, not_found, number_in

Handler = Callable[[View, web.Request], Awaitable[web.Response]]

TXIDS_IN_BLOCK_MAX = 1000  # of a bigger block the first TXIDS_SHOWN, and pages
TXIDS_SHOWN = 100
TXIDS_A_PAGE = 50_000
HEADERS_SHOWN = 10
HEADERS_A_FILE = 10_000
LATEST_MAX = 2000


async def chain_info(view: View, request: web.Request) -> web.Response:
    """The tip, above all."""
    header = await view.header(view.tip.hash)
    return answer(
        {
            "chain": request.match_info["network"],
            "blocks": view.height,
            "headers": view.height,
            "bestblockhash": view.tip.hash,
            "difficulty": header["difficulty"],
            "mediantime": header["mediantime"],
            "verificationprogress": 1,
            "pruned": False,
            "chainwork": header["chainwork"],
        }
    )


async def chain_tips(view: View, _request: web.Request) -> web.Response:
    """The best block and those of branches that lost."""
    tips = await view.rpc.call("getchaintips")
    if not isinstance(tips, list):
        raise web.HTTPInternalServerError(text="unexpected response code 500")
    seen = [tip for tip in tips if tip["height"] <= view.height and tip["status"] != "active"]
    best = {"height": view.height, "hash": view.tip.hash, "branchlen": 0, "status": "active"}
    return answer([best, *seen])


async def header(view: View, request: web.Request) -> web.Response:
    """One header, by hash or height."""
    return answer(await view.header(request.match_info["block"]))


async def headers(view: View, _request: web.Request) -> web.Response:
    """The newest headers, the best first; a lie is about the best."""
    heights = range(view.height, max(-1, view.height - HEADERS_SHOWN), -1)
    found = [await view.header(str(view.height))]
    honest = View(view.rpc, view.index, None)
    found += [await honest.header(str(height)) for height in heights[1:]]
    return answer(found)


async def header_files(view: View, request: web.Request) -> web.Response:
    """Where all headers can be fetched as bytes."""
    base = f"{request.url.origin()}/v1/bsv/{request.match_info['network']}/block/headers"
    firsts = range(0, view.height + 1 - HEADERS_A_FILE, HEADERS_A_FILE)
    whole = [f"{base}/{first}_{first + HEADERS_A_FILE - 1}_headers.bin" for first in firsts]
    return answer({"files": [*whole, f"{base}/latest"]})


async def header_file(view: View, request: web.Request) -> web.Response:
    """One of those files."""
    first, last = int(request.match_info["first"]), int(request.match_info["last"])
    if not first <= last <= view.height or last - first >= HEADERS_A_FILE:
        raise not_found()
    return await _bytes_of(view, first, last)


async def latest_headers(view: View, request: web.Request) -> web.Response:
    """The newest headers as bytes, the best last: `count`, else all that no file has."""
    rest = (view.height + 1) % HEADERS_A_FILE or HEADERS_A_FILE
    count = number_in(request, "count", default=rest, most=max(rest, LATEST_MAX))
    return await _bytes_of(view, max(0, view.height + 1 - count), view.height)


async def block(view: View, request: web.Request) -> web.Response:
    """A block of the best chain by hash or height: header and transaction ids."""
    found = _block(view, request)
    described = await view.header(found.hash)
    txids = found.txids
    pages = -(-len(txids) // TXIDS_A_PAGE)
    many = len(txids) > TXIDS_IN_BLOCK_MAX
    uris = [f"/block/hash/{found.hash}/page/{page}" for page in range(1, pages + 1)]
    return answer(
        {
            **described,
            "txcount": len(txids),
            "num_tx": len(txids),
            "tx": txids[:TXIDS_SHOWN] if many else txids,
            "pages": {"uri": uris, "size": TXIDS_A_PAGE} if many else None,
        }
    )


async def block_page(view: View, request: web.Request) -> web.Response:
    """A page of a block's transaction ids."""
    page = int(request.match_info["page"])
    txids = _block(view, request).txids[(page - 1) * TXIDS_A_PAGE : page * TXIDS_A_PAGE]
    if page < 1 or not txids:
        raise not_found()
    return answer(txids)


ROUTES: dict[str, Handler] = {
    "GET /chain/info": chain_info,
    "GET /chain/tips": chain_tips,
    "GET /block/headers": headers,
    "GET /block/headers/latest": latest_headers,
    "GET /block/headers/resources": header_files,
    r"GET /block/headers/{first:\d{1,9}}_{last:\d{1,9}}_headers.bin": header_file,
    "GET /block/{block}/header": header,
    "GET /block/hash/{hash}": block,
    r"GET /block/height/{height:\d{1,9}}": block,
    r"GET /block/hash/{hash}/page/{page:\d{1,9}}": block_page,
}


def _block(view: View, request: web.Request) -> IndexedBlock:
    """The block named in the path."""
    if "height" in request.match_info:
        found = view.index.block_at(int(request.match_info["height"]))
    else:
        found = view.index.block_by_hash(hash_in(request, "hash"))
    if found is None or found.height > view.height:
        raise not_found()
    return found


async def _bytes_of(view: View, first: int, last: int) -> web.Response:
    """Headers as bytes; a lie is about the last."""
    honest = View(view.rpc, view.index, None)
    found = [header_bytes(await honest.header(str(height))) for height in range(first, last)]
    found.append(header_bytes(await view.header(str(last))))
    name = f'attachment; filename="{first}_{last}_headers.bin"'
    return web.Response(
        body=b"".join(found),
        content_type="application/octet-stream",
        headers={"Content-Disposition": name},
    )
