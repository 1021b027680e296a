"""Which web pages may use the gateway: CORS for those of other origins, and a rule against forged requests.

There are no cookies: a page that may not read answers gains nothing but work done for it. So what browsers
send without asking first, GET and multipart/form-data, needs a header that they would ask about.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware
from strawberry.http.websocket_origin import is_same_origin, normalize_allowed_origins, normalize_origin

from mesh.errors import InvalidArgument, PermissionDenied

# Any of them will do; the others are what Apollo's and GraphQL Yoga's clients send.
PREFLIGHT_HEADERS = ("X-Satreel-Preflight", "Apollo-Require-Preflight", "GraphQL-Require-Preflight")
_METHODS = "GET, POST, PUT, DELETE"
# Browsers ask at most once in two hours, whatever is said here.
_ASKED_AGAIN_S = "7200"
_EXPOSED = "RateLimit, RateLimit-Policy, Retry-After, ETag, Content-Range"
_ASKS_METHOD, _ASKS_HEADERS = hdrs.ACCESS_CONTROL_REQUEST_METHOD, hdrs.ACCESS_CONTROL_REQUEST_HEADERS
# By a page of ours, or by a person.
_OURS = {"same-origin", "none"}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ForeignOrigin(PermissionDenied):
    """Pages of this origin may not use the gateway."""

    reason = "FOREIGN_ORIGIN"


class PreflightRequired(InvalidArgument):
    """Such a request must carry the header X-Satreel-Preflight, whatever its value."""

    reason = "PREFLIGHT_REQUIRED"


class Origins:
    """Those that may."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = normalize_allowed_origins(list(allowed))

    def check(self, request: web.Request) -> None:
        """Browsers name the page that opens a WebSocket, and ask nobody else. Raises ForeignOrigin."""
        if not self._may_use(request):
            raise ForeignOrigin

    def check_get(self, request: web.Request) -> None:
        """Raises PreflightRequired for a GET that another site's page makes unseen."""
        site = request.headers.get("Sec-Fetch-Site")
        if site is None or site in _OURS or any(name in request.headers for name in PREFLIGHT_HEADERS):
            return
        if hdrs.ORIGIN not in request.headers or not self._may_use(request):
            raise PreflightRequired

    def answer_asked(self, request: web.Request) -> web.Response | None:
        """The answer to a browser that asks whether a page may send a request. Raises ForeignOrigin."""
        if request.method != hdrs.METH_OPTIONS or _ASKS_METHOD not in request.headers:
            return None
        self.check(request)
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: request.headers.get(_ASKS_HEADERS, ""),
            hdrs.ACCESS_CONTROL_MAX_AGE: _ASKED_AGAIN_S,
        }
        return web.Response(status=204, headers=headers)

    async def tell(self, request: web.Request, response: web.StreamResponse) -> None:
        """Before a response's head is sent: lets a page of an allowed origin read it."""
        if not self._allowed:
            return
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and self._may_use(request):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED

    def _may_use(self, request: web.Request) -> bool:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or is_same_origin(origin, request.headers.get(hdrs.HOST)):
            return True
        return bool({"*", normalize_origin(origin)} & self._allowed)


def asking(origins: Origins) -> Middleware:
    """Around all routes: answers browsers that ask."""

    @web.middleware
    async def ask(request: web.Request, handler: _Handler) -> web.StreamResponse:
        return origins.answer_asked(request) or await handler(request)

    return ask
