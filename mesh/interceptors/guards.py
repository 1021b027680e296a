"""Parts that run before the servicer: who calls, how much time there is, whether the contract allows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

from satreel.mesh.v1 import access_pb2

from mesh import caller, deadlines
from mesh.caller import Caller
from mesh.errors import CallerNotAllowed, PermissionDenied, Unauthenticated
from mesh.interceptors.leading import HEALTH_KEY
from mesh.interceptors.pipeline import IncomingCall
from mesh.tokens import UserTokenVerifier

SPIFFE_PREFIX = "spiffe://satreel/"
USER_TOKEN_KEY = "x-satreel-user-token"  # noqa: S105 - the name of a header
CLAIMED_SERVICE_KEY = "x-satreel-service"
_SIDECAR_KEY = "x-forwarded-client-cert"
# The edge overwrites both on all that comes in: whose certificate it verified, where the client calls from.
EDGE = "edge"
TEAM_KEY = "x-satreel-team"
CLIENT_ADDRESS_KEY = "x-satreel-client-address"
# What only parts of the mesh may say; the edge takes all of it from what strangers send.
TRUSTED_KEYS = (
    USER_TOKEN_KEY,
    CLAIMED_SERVICE_KEY,
    TEAM_KEY,
    CLIENT_ADDRESS_KEY,
    HEALTH_KEY,
    _SIDECAR_KEY,
)

# Finds the name of the service that calls; "" when it cannot be told.
IdentitySource: TypeAlias = Callable[[IncomingCall], str]


class UserTokenMissing(Unauthenticated):
    """The method needs a signed-in user."""

    reason = "USER_TOKEN_MISSING"


class AdminRequired(PermissionDenied):
    """The method needs an administrator."""

    reason = "ADMIN_REQUIRED"


def from_tls_peer(call: IncomingCall) -> str:
    """The service named by the URI in the peer's certificate, which TLS has verified."""
    uris = list(call.context.auth_context().get("peer_spiffe_id", ()))
    return _service_of(uris[0].decode()) if len(uris) == 1 else ""


def from_sidecar(call: IncomingCall) -> str:
    """The service that the sidecar verified. It must overwrite the header (SANITIZE_SET): one entry only."""
    header = str(call.metadata.get(_SIDECAR_KEY, ""))
    uris = [part[4:] for part in header.split(";") if part.startswith("URI=")]
    # Quotes could hide a separator; Envoy writes them only for fields that it is not asked for.
    alone = len(uris) == 1 and not {",", '"'} & set(header)
    return _service_of(uris[0]) if alone else ""


def as_claimed(call: IncomingCall) -> str:
    """The service that the caller says it is: only for servers without TLS, which listen on loopback only."""
    return str(call.metadata.get(CLAIMED_SERVICE_KEY, ""))


def behind_edge(call: IncomingCall) -> str:
    """Who calls through the edge: the one whose certificate it verified, itself for clients without."""
    team = str(call.metadata.get(TEAM_KEY, ""))
    return _service_of(team) if team else EDGE


def _service_of(uri: str) -> str:
    return uri.removeprefix(SPIFFE_PREFIX) if uri.startswith(SPIFFE_PREFIX) else ""


class CallerIdentified:
    """Finds out who calls and verifies the user's token, if there is one."""

    def __init__(self, source: IdentitySource, verifier: UserTokenVerifier | None) -> None:
        self._source = source
        self._verifier = verifier

    def __call__(self, call: IncomingCall) -> None:
        """Sets `mesh.caller.current()`. Raises TokenInvalid, SessionEnded, RevocationsUnknown."""
        service = self._source(call)
        if service == EDGE:
            call.through_edge, service = True, behind_edge(call)
        token = str(call.metadata.get(USER_TOKEN_KEY, ""))
        call.caller = Caller(service)
        if token and self._verifier is not None:
            claims = self._verifier.verify(token)
            call.caller = Caller(service, claims.user_id, claims.roles, claims.session_id)
        caller.enter(call.caller, token)


def deadline_entered(call: IncomingCall) -> None:
    """Remembers until when the call must be answered, for the calls made on its behalf."""
    # The stubs forget that a call may come without a deadline.
    timeout_s = cast("float | None", call.context.time_remaining())
    if timeout_s is None and not call.contract.streams:
        timeout_s = call.contract.timeout_s
    deadlines.enter(timeout_s)


def access_enforced(call: IncomingCall) -> None:
    """Refuses what the contract's access option does not allow; a method without one is refused to all.

    Through the edge everybody may do what it gives to the edge, and a team also what it gives to the team.
    """
    access, who = call.contract.access, call.caller
    names = {who.service, EDGE, "*"} if call.through_edge else {who.service, "*"}
    if access is None or not who.service or not (names & set(access.callers)):
        raise CallerNotAllowed(caller=who.service or "unknown", method=call.contract.path)
    if access.user == access_pb2.USER_UNSPECIFIED:
        return
    if who.user_id is None:
        raise UserTokenMissing
    if access.user != access_pb2.USER_SIGNED_IN and not who.is_admin:
        raise AdminRequired
