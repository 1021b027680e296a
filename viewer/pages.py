"""The pages: rendered here, read-only, without a script."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from viewer import drawing
from viewer.map import edges
from viewer.series import lines_of, plain
from viewer.store import TRACE_SPANS_MAX, Store

InThread = Callable[..., Awaitable[Any]]
STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
MAP_S, CHARTS_S = 900, 3600
SHOWS = ("recent", "slow", "failed")
TRACE_ID = re.compile(r"[0-9a-f]{32}")


@web.middleware
async def guarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Only for who is at this machine: a page elsewhere whose name leads here is refused."""
    if request.host.rpartition(":")[0] not in LOOPBACK and request.host not in LOOPBACK:
        raise web.HTTPForbidden(text="only by a loopback address", headers=HEADERS)
    response = await handler(request)
    response.headers.update(HEADERS)
    return response


def _page(title: str, here: str, body: str) -> web.Response:
    places = (("/", "recent"), ("/?show=slow", "slow"), ("/?show=failed", "failed"))
    places += (("/map", "map"), ("/metrics", "metrics"))  # type: ignore[assignment] # it grows
    links = "".join(
        f'<a href="{where}"{" class=here" if name == here else ""}>{name}</a>' for where, name in places
    )
    return web.Response(
        text=f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)} · Satreel</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/style.css">'
        f"<header><strong>Satreel</strong>{links}</header><main>{body}</main></html>",
        content_type="text/html",
    )


def _when(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3]


class Pages:
    """All of them, over a store."""

    def __init__(self, store: Store, in_thread: InThread) -> None:
        self._store, self._in_thread = store, in_thread

    def application(self) -> web.Application:
        """What is served."""
        app = web.Application(middlewares=[guarded], client_max_size=1024)
        app.router.add_get("/", self.traces)
        app.router.add_get("/trace/{trace}", self.trace)
        app.router.add_get("/map", self.map)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/metrics/{name}", self.metric)
        app.router.add_get("/style.css", self.style)
        return app

    async def style(self, _: web.Request) -> web.StreamResponse:
        """How they look."""
        return web.Response(text=STYLE.read_text(), content_type="text/css")

    async def traces(self, request: web.Request) -> web.StreamResponse:
        """The newest, the slowest, or those that failed."""
        show, service = request.query.get("show", "recent"), request.query.get("service", "")
        show = show if show in SHOWS else "recent"
        found = await self._in_thread(lambda: self._store.traces(show, service))
        names = await self._in_thread(self._store.services)
        rows = "".join(
            f'<tr><td class="n quiet">{_when(one.began_ns)}</td><td>{escape(one.service)}</td>'
            f'<td><a href="/trace/{one.trace}">{escape(one.name)}</a></td>'
            f'<td class="n">{drawing.ms(one.took_ms)}</td><td class="n">{one.spans}</td>'
            f'<td class="n{" bad" if one.failed else " quiet"}">{one.failed or "–"}</td></tr>'
            for one in found
        )
        filters = " · ".join(
            f'<a href="/?show={show}&amp;service={quote(name)}">{escape(name)}</a>' for name in names
        )
        head = "<tr><th class=n>UTC</th><th>begun in</th><th>trace</th><th class=n>took</th>"
        head += "<th class=n>spans</th><th class=n>failed</th></tr>"
        table = f'<div class="card"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
        why = "None of those kept." if names else "No traces yet: they come seconds after the calls."
        nothing = f'<p class="quiet">{why}</p>'
        within = (
            f'<p class="quiet">begun in: <a href="/?show={show}">all</a> · {filters}</p>' if names else ""
        )
        title = f"{show} traces{f' of {service}' if service else ''}"
        return _page(title, show, f"<h1>{escape(title)}</h1>{within}{table if found else nothing}")

    async def trace(self, request: web.Request) -> web.StreamResponse:
        """The waterfall of one, and what its spans say."""
        trace = request.match_info["trace"]
        spans = await self._in_thread(lambda: self._store.trace(trace)) if TRACE_ID.fullmatch(trace) else []
        if not spans:
            raise web.HTTPNotFound(text="no such trace, or not any more", headers=HEADERS)
        told = "".join(
            f"<details><summary{' class=bad' if one.failed else ''}>"
            f"{escape(one.service)} · {escape(one.name)}"
            f' <span class="quiet">{one.kind}, {drawing.ms(one.took_ms)}</span></summary>'
            f"{self._attributes(one.attributes)}{self._links(one.links)}</details>"
            for _, one in drawing.ordered(spans)
        )
        took = (max(one.ended_ns for one in spans) - min(one.began_ns for one in spans)) / 1e6
        many = f"{_of(len(spans), 'span')} in {_of(len({one.service for one in spans}), 'part')}"
        name = next((one.name for one in spans if not one.says_little), spans[0].name)
        body = f"<h1>{escape(name)}</h1><p class=quiet>{_when(spans[0].began_ns)} UTC · "
        first = "the first " if len(spans) == TRACE_SPANS_MAX else ""
        body += f"{drawing.ms(took)} · {first}{many} · <code>{trace}</code></p>"
        body += (
            f'<div class="card">{drawing.waterfall(spans)}</div><h2>Spans</h2><div class="card">{told}</div>'
        )
        return _page(name, "", body)

    @staticmethod
    def _attributes(found: dict[str, object]) -> str:
        rows = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td><code>{escape(str(value))}</code></td></tr>"
            for name, value in sorted(found.items())
        )
        return f"<table>{rows}</table>"

    @staticmethod
    def _links(found: list[str]) -> str:
        links = ", ".join(f'<a href="/trace/{one}"><code>{one}</code></a>' for one in found)
        return f"<p>caused by {links}</p>" if links else ""

    async def map(self, _: web.Request) -> web.StreamResponse:
        """Who calls whom, in the last quarter of an hour."""
        since = time.time_ns() - MAP_S * 10**9
        spans = await self._in_thread(lambda: self._store.newest_spans(since))
        found = edges(spans)
        if not found:
            return _page("map", "map", '<h1>service map</h1><p class="quiet">No calls yet.</p>')
        began_s = min(one.began_ns for one in spans) / 1e9
        length_s = max(1.0, time.time() - began_s)
        rows = "".join(
            f"<tr><td>{escape(edge.caller)}</td><td>{escape(edge.callee)}</td>"
            f'<td class="n">{edge.calls / length_s:.2f}/s</td>'
            f'<td class="n{" bad" if edge.failed else " quiet"}">'
            f"{100 * edge.failed / edge.calls:.1f} %</td>"
            f'<td class="n">{drawing.ms(edge.percentile_ms(0.5))}</td>'
            f'<td class="n">{drawing.ms(edge.percentile_ms(0.95))}</td></tr>'
            for edge in found
        )
        head = "<tr><th>from</th><th>to</th><th class=n>calls</th><th class=n>failed</th>"
        head += "<th class=n>median</th><th class=n>95 %</th></tr>"
        body = f'<h1>service map</h1><div class="card">{drawing.picture(found)}</div><h2>Calls</h2>'
        body += f'<div class="card"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
        return _page("map", "map", body)

    async def metrics(self, _: web.Request) -> web.StreamResponse:
        """All by name, those of one subject together."""
        found = await self._in_thread(self._store.metrics)
        body = "<h1>metrics</h1>"
        for subject, of_it in groupby(found, lambda metric: metric[0].partition(".")[0]):
            cards = "".join(
                f'<div class="card"><a href="/metrics/{quote(name, safe="")}">{escape(name)}</a>'
                f'<div class="quiet">{escape(kind)}, {escape(plain(unit))}</div></div>'
                for name, unit, kind in of_it
            )
            body += f'<h2>{escape(subject)}</h2><div class="grid">{cards}</div>'
        nothing = '<p class="quiet">No metrics yet: they come every ten seconds.</p>'
        return _page("metrics", "metrics", body if found else nothing)

    async def metric(self, request: web.Request) -> web.StreamResponse:
        """Charts of one in the last hour: what it is, or how fast it grows."""
        name = request.match_info["name"]
        since = time.time_ns() - CHARTS_S * 10**9
        points = await self._in_thread(lambda: list(self._store.points(name, since)))
        if not points:
            raise web.HTTPNotFound(text="no such metric, or not any more", headers=HEADERS)
        body = f"<h1>{escape(name)}</h1>"
        for title, lines in lines_of(points):
            legend = "".join(
                f'<tr><td class="k{at}">■</td><td><code>{escape(label)}</code></td>'
                f'<td class="n">{drawing.number(values[-1][1]) if values else "–"}</td></tr>'
                for at, (label, values) in enumerate(list(lines.items())[: drawing.SERIES_MAX])
            )
            more = len(lines) - drawing.SERIES_MAX
            rest = f'<p class="quiet rest">and {more} more</p>' if more > 0 else ""
            body += f'<h2>{escape(title)}</h2><div class="card">{drawing.chart(lines)}'
            body += f"<table>{legend}</table>{rest}</div>"
        return _page(name, "metrics", body)


def _of(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
