"""Who a client is: access tokens are checked with identity, and trusted for seconds."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from satreel.identity.v1 import identity_pb2, identity_service_pb2
from satreel.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from mesh import caller
from mesh.caller import Caller
from mesh.clock import Clock
from mesh.errors import RemoteFailure, Unauthenticated
from mesh.revocations import Revocations, SessionEnded

CACHED_MAX = 50_000
# As the contract says: anything else is no token of ours.
TOKEN_CHARS_MIN, TOKEN_CHARS_MAX = 16, 256
# While identity does not answer, a viewer who was checked before is believed this long: shorter than a user
# token lives.
TRUSTED_IN_OUTAGE_S = 30.0
# For who follows what everybody may hear, while ends of sessions are told to us.
TRUSTED_WHILE_HEARD_S = 30.0
BEARER = "bearer "

NOBODY = Caller(service="gateway")
_ROLE_NAMES = {identity_pb2.ROLE_ADMIN: caller.ADMIN}


@dataclass(frozen=True, slots=True)
class Viewer:
    """The signed-in user and the tokens that prove it."""

    user: identity_pb2.User
    session_id: str
    access_token: str
    user_token: str
    # As calls made for them have it.
    caller: Caller = field(init=False)

    def __post_init__(self) -> None:
        roles = frozenset(_ROLE_NAMES[role] for role in self.user.roles if role in _ROLE_NAMES)
        who = Caller(service="gateway", user_id=self.user.id, roles=roles, session_id=self.session_id)
        object.__setattr__(self, "caller", who)

    @property
    def id(self) -> str:
        """The user's id."""
        return self.user.id

    @property
    def is_admin(self) -> bool:
        """Whether the user holds the administrator role."""
        return identity_pb2.ROLE_ADMIN in self.user.roles


class BadToken(Unauthenticated):
    """The access token is not of a form that we give out."""

    reason = "SESSION_INVALID"


@dataclass(frozen=True, slots=True)
class _Checked:
    viewer: Viewer
    at_s: float


class Authenticator:
    """Turns access tokens into viewers, and lets calls to other services carry the viewer."""

    def __init__(
        self, identity: IdentityServiceStub, clock: Clock, cache_s: float, revocations: Revocations
    ) -> None:
        self._identity = identity
        self._clock = clock
        self._cache_s = cache_s
        self._revocations = revocations
        self._checked: OrderedDict[bytes, _Checked] = OrderedDict()

    async def viewer_of(self, access_token: str) -> Viewer:
        """The user behind a token. Raises BadToken, SessionEnded, or RemoteFailure SESSION_INVALID."""
        if not (access_token.isascii() and TOKEN_CHARS_MIN <= len(access_token) <= TOKEN_CHARS_MAX):
            raise BadToken
        key = hashlib.sha256(access_token.encode()).digest()
        known = self._known(key)
        if known is not None and self._age_s(known) < self._cache_s:
            return known.viewer
        try:
            viewer = await self._check(access_token)
        except RemoteFailure as failure:
            if known is not None and failure.outcome_unknown and self._is_believed(known):
                return known.viewer
            self._checked.pop(key, None)
            raise
        if self._revocations.has_ended(viewer.session_id):
            raise SessionEnded
        self._remember(key, viewer)
        return viewer

    def now_s(self) -> float:
        """When a check is made."""
        return self._clock.monotonic_s()

    def due_s(self, *, strictly: bool) -> float:
        """When a log-in must have been checked so that it still counts, for what everybody may hear.

        As long as ends of sessions are heard of, connections end with theirs; `strictly` as for any request.
        """
        trusted_s = self._cache_s if strictly or not self._revocations.are_known else TRUSTED_WHILE_HEARD_S
        return self.now_s() - trusted_s

    def _known(self, key: bytes) -> _Checked | None:
        known = self._checked.get(key)
        if known is not None and self._revocations.has_ended(known.viewer.session_id):
            del self._checked[key]
            return None
        return known

    def _is_believed(self, known: _Checked) -> bool:
        """While identity is away, and as long as we would hear of the session's end."""
        return self._age_s(known) < TRUSTED_IN_OUTAGE_S and self._revocations.are_known

    async def _check(self, access_token: str) -> Viewer:
        request = identity_service_pb2.AuthenticateRequest(access_token=access_token)
        # For nobody: the user token that this task had before may be over, and would be refused.
        with caller.acting_as(NOBODY):
            response = await self._identity.Authenticate(request)
        return Viewer(response.user, response.session_id, access_token, response.user_token)

    def _age_s(self, checked: _Checked) -> float:
        return self._clock.monotonic_s() - checked.at_s

    def _remember(self, key: bytes, viewer: Viewer) -> None:
        self._checked[key] = _Checked(viewer, self._clock.monotonic_s())
        self._checked.move_to_end(key)
        while len(self._checked) > CACHED_MAX:
            self._checked.popitem(last=False)


def bearer_token(header: str) -> str | None:
    """The token of an Authorization header; None when there is none. Raises BadToken on any other scheme."""
    if not header:
        return None
    if not header.lower().startswith(BEARER):
        raise BadToken("The Authorization header must be `Bearer <access token>`.")
    return header[len(BEARER) :].strip()


def act_for(viewer: Viewer | None) -> None:
    """Makes the calls of this task carry the viewer from here on."""
    if viewer is None:
        caller.enter(NOBODY)
        return
    caller.enter(viewer.caller, viewer.user_token)
