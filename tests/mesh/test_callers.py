"""Who may call what: certificates, the contract's access option, user tokens."""

from __future__ import annotations

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest

from mesh import caller, tls
from mesh.authority import Authority
from mesh.caller import Caller
from mesh.errors import Code, RemoteFailure
from mesh.server import MeshServer
from mesh.testing import serving
from tests.mesh.conftest import EchoSettings, House
from tests.mesh.echo import SERVICE, Echo, EchoStub, add_echo

HI = EchoRequest(text="hi")


async def test_the_certificate_names_the_caller(house: House, server: MeshServer) -> None:
    answer = await house.stub(server).Echo(EchoRequest(text="who"))
    assert answer.text == str(Caller("friend"))


async def test_a_caller_outside_the_contract_is_refused(house: House, server: MeshServer, echo: Echo) -> None:
    stranger = house.stub(server, me="stranger")
    assert (await stranger.Echo(HI)).text == "hi"
    with pytest.raises(RemoteFailure) as refused:
        await stranger.Command(HI)
    assert (refused.value.code, refused.value.reason) == (Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
    assert refused.value.domain == "satreel_testing.mesh"
    assert refused.value.metadata["caller"] == "stranger"
    assert echo.seen["Command"] == 0


async def test_streams_are_guarded_too(house: House, server: MeshServer, echo: Echo) -> None:
    stranger = house.stub(server, me="stranger")
    for stream in (stranger.Watch(HI), stranger.Talk(iter([HI]))):
        with pytest.raises(RemoteFailure, match="CALLER_NOT_ALLOWED"):
            _ = [answer async for answer in stream]
    with pytest.raises(RemoteFailure, match="CALLER_NOT_ALLOWED"):
        await stranger.Collect(iter([HI]))
    assert not echo.seen


async def test_a_method_without_access_is_closed(house: House, server: MeshServer, echo: Echo) -> None:
    with pytest.raises(RemoteFailure, match="CALLER_NOT_ALLOWED"):
        await house.stub(server).Closed(HI)
    assert not echo.seen


async def test_a_claim_in_metadata_is_no_identity(house: House, server: MeshServer, echo: Echo) -> None:
    credentials = tls.channel_credentials(house.tls_dir, "stranger")
    options = [("grpc.ssl_target_name_override", "echo.satreel")]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        for header in ("x-satreel-service", "x-forwarded-client-cert"):
            with pytest.raises(grpc.aio.AioRpcError, match="may not call"):
                await EchoStub(channel).Command(
                    HI, metadata=[(header, "friend"), (header, "URI=spiffe://satreel/friend")]
                )
    assert not echo.seen


async def test_no_certificate_no_call(house: House, server: MeshServer, echo: Echo) -> None:
    only_roots = grpc.ssl_channel_credentials((house.tls_dir / "ca.pem").read_bytes())
    options = [("grpc.ssl_target_name_override", "echo.satreel")]
    async with (
        grpc.aio.secure_channel(f"127.0.0.1:{server.port}", only_roots, options) as nameless,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as plain,
    ):
        for channel in (nameless, plain):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await EchoStub(channel).Echo(HI, timeout=5)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not echo.seen


async def test_a_certificate_of_another_authority_is_refused(
    house: House, server: MeshServer, echo: Echo
) -> None:
    foreign = house.tls_dir.parent / "foreign"
    Authority.open(foreign).issue("friend")
    credentials = grpc.ssl_channel_credentials(
        (house.tls_dir / "ca.pem").read_bytes(),
        (foreign / "friend.key").read_bytes(),
        (foreign / "friend.pem").read_bytes(),
    )
    options = [("grpc.ssl_target_name_override", "echo.satreel")]
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await EchoStub(channel).Echo(HI, timeout=5)
    assert not echo.seen


async def test_a_client_refuses_a_server_of_another_name(
    house: House, server: MeshServer, echo: Echo
) -> None:
    with pytest.raises(RemoteFailure):
        await house.stub(server, peer="ledger").Echo(HI, timeout=0.5)
    assert not echo.seen


async def test_a_renewed_certificate_is_served_without_restart(house: House, server: MeshServer) -> None:
    assert (await house.stub(server).Echo(HI)).text == "hi"
    for name in ("echo.pem", "echo.key", "friend.pem", "friend.key", "ca.pem", "ca.key"):
        (house.tls_dir / name).unlink()
    authority = Authority.open(house.tls_dir)
    authority.issue("echo")
    authority.issue("friend")
    assert (await house.stub(server).Echo(HI)).text == "hi"


async def test_without_tls_only_loopback_is_served(echo: Echo) -> None:
    server = MeshServer(EchoSettings(listen="0.0.0.0:0"))
    await server.add(add_echo, echo)
    with pytest.raises(RuntimeError, match="SATREEL_TLS_DIR"):
        await server.start()


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("By=spiffe://satreel/echo;URI=spiffe://satreel/friend", True),
        ("URI=spiffe://satreel/stranger", False),
        ("URI=spiffe://elsewhere/friend", False),
        ("URI=spiffe://satreel/friend,URI=spiffe://satreel/stranger", False),
        ("URI=spiffe://satreel/friend;URI=spiffe://satreel/friend", False),
        ('Subject="URI=spiffe://satreel/friend"', False),
        ("", False),
    ],
)
async def test_behind_a_sidecar_its_header_names_the_caller(
    house: House, echo: Echo, header: str, named: bool
) -> None:
    server = await house.start(echo, behind_sidecar=True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = EchoStub(channel).Command(HI, metadata=[("x-forwarded-client-cert", header)])
        if named:
            assert (await call).text == "hi"
        else:
            with pytest.raises(grpc.aio.AioRpcError, match="may not call"):
                await call
    assert echo.seen["Command"] == int(named)


async def test_a_user_token_says_who_is_signed_in(house: House, server: MeshServer) -> None:
    stub = house.stub(server)
    with caller.acting_as(Caller("friend"), house.token("u1")):
        assert (await stub.UserOnly(HI)).text == "u1"
        with pytest.raises(RemoteFailure, match="ADMIN_REQUIRED"):
            await stub.AdminOnly(HI)
    with caller.acting_as(Caller("friend"), house.token("u2", "admin")):
        assert (await stub.AdminOnly(HI)).text == "u2"


async def test_no_token_no_user(house: House, server: MeshServer, echo: Echo) -> None:
    with pytest.raises(RemoteFailure) as refused:
        await house.stub(server).UserOnly(HI)
    assert (refused.value.code, refused.value.reason) == (Code.UNAUTHENTICATED, "USER_TOKEN_MISSING")
    assert not echo.seen


async def test_an_expired_token_is_refused_even_if_it_was_good(
    house: House, server: MeshServer, echo: Echo
) -> None:
    stub, token = house.stub(server), house.token()
    with caller.acting_as(Caller("friend"), token):
        assert (await stub.UserOnly(HI)).text == "u1"
        await house.clock.advance(house.signer.lifetime_s + 6)
        with pytest.raises(RemoteFailure) as refused:
            await stub.UserOnly(HI)
    assert (refused.value.code, refused.value.reason) == (Code.UNAUTHENTICATED, "TOKEN_INVALID")
    assert echo.seen["UserOnly"] == 1


def _forged(house: House, flaw: str) -> str:
    now_s = house.clock.now_ns() // 10**9
    claims = {
        "iss": "spiffe://satreel/identity",
        "aud": "satreel",
        "sub": "u1",
        "roles": ["admin"],
        "iat": now_s,
        "exp": now_s + 60,
    }
    good_key = (house.tls_dir / "user-token.key").read_bytes()
    if flaw == "key":
        return jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA")
    if flaw == "none":
        return jwt.encode(claims, "", algorithm="none")
    if flaw == "symmetric":
        return jwt.encode(claims, "k" * 32, algorithm="HS256")
    if flaw == "garbage":
        return "not.a.token"
    changed = {name: value for name, value in claims.items() if name != flaw}
    if flaw in ("aud", "iss"):
        changed[flaw] = "elsewhere"
    return jwt.encode(changed, good_key, algorithm="EdDSA")


@pytest.mark.parametrize("flaw", ["key", "none", "symmetric", "garbage", "aud", "iss", "exp", "sub"])
async def test_forged_tokens_are_refused_everywhere(
    house: House, server: MeshServer, echo: Echo, flaw: str
) -> None:
    stub = house.stub(server)
    with caller.acting_as(Caller("friend"), _forged(house, flaw)):
        for method in (stub.UserOnly, stub.AdminOnly, stub.Echo):
            with pytest.raises(RemoteFailure, match="TOKEN_INVALID"):
                await method(HI)
    assert not echo.seen


async def test_the_test_kit_speaks_for_services_and_users(echo: Echo) -> None:
    async with serving("echo", add_echo, echo) as kit:
        friend = EchoStub(kit.channel("friend", service=SERVICE))
        with kit.user("u7", roles={"admin"}):
            assert (await friend.AdminOnly(HI)).text == "u7"
        with pytest.raises(RemoteFailure, match="CALLER_NOT_ALLOWED"):
            await EchoStub(kit.channel("stranger", service=SERVICE)).Command(HI)
