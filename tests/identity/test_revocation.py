"""A revoked session is out within five seconds: identity, gateway and another service as real processes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from satreel.identity.v1 import identity_pb2, identity_service_pb2, identity_service_pb2_grpc
from satreel_testing.mesh.v1.echo_service_pb2 import EchoRequest

from mesh import caller
from mesh.caller import Caller
from mesh.channel import connect
from mesh.errors import RemoteFailure
from mesh.tls import make_user_token_keys
from sandbox.process import free_port
from tests.conftest import ValkeyServer, without_settings
from tests.gateway.client import Client
from tests.identity.conftest import Wallet
from tests.mesh.echo import SERVICE, EchoStub

ROOT = Path(__file__).resolve().parents[2]
OUT_WITHIN_S = 5.0
# At least so long after Redis has gone: the stream is read every two seconds.
BELIEVED_FOR_S = 2.0
PATIENCE_S = 120.0
ME = "{ me { user { address } } }"
PEERS = ("content", "ledger", "market", "chain", "rounds", "insight")
pb = identity_service_pb2


class Town:
    """The running processes."""

    def __init__(self, client: Client, identity: identity_service_pb2_grpc.IdentityServiceStub) -> None:
        self.client = client
        self.identity = identity
        self.echoes: list[EchoStub] = []

    async def log_in(self, wallet: Wallet) -> identity_pb2.Session:
        """Through identity itself; access tokens are good at the gateway."""
        request = pb.CreateChallengeRequest(
            address=wallet.address, purpose=identity_pb2.CHALLENGE_PURPOSE_LOG_IN
        )
        challenge = (await self.identity.CreateChallenge(request)).challenge
        signed = pb.LogInRequest(
            challenge_id=challenge.id, address=wallet.address, signature=wallet.sign(challenge.message)
        )
        return (await self.identity.LogIn(signed)).session

    async def user_token(self, session: identity_pb2.Session) -> str:
        """What the gateway gets from identity, and sends to services."""
        request = pb.AuthenticateRequest(access_token=session.access_token)
        return (await self.identity.Authenticate(request)).user_token

    async def refusal(self, echo: EchoStub, token: str) -> str:
        """Why the service refuses the token; "" when it does not."""
        with caller.acting_as(Caller("gateway"), token):
            try:
                await echo.Echo(EchoRequest(text="hi"))
            except RemoteFailure as failure:
                return failure.reason
        return ""

    async def refusal_of_gateway(self, access_token: str) -> str:
        """The status with which the gateway refuses the token; "" when it does not."""
        status = (await self.client.post(ME, token=access_token)).status
        return "" if status == 200 else str(status)


@pytest.fixture
async def town(own_valkey: ValkeyServer, tmp_path: Path) -> AsyncIterator[Town]:
    private_key, public_key = make_user_token_keys(tmp_path / "keys")
    ports = [free_port() for _ in range(5)]
    identity, gateway, nobody, first, second = (f"127.0.0.1:{port}" for port in ports)
    shared = {
        "SATREEL_REDIS_URL": own_valkey.url,
        "SATREEL_DATA_DIR": str(tmp_path),
        "SATREEL_USER_TOKEN_KEY": str(public_key),
        "SATREEL_IDENTITY_TOKEN_KEY": str(private_key),
        "SATREEL_IDENTITY_LISTEN": identity,
        "SATREEL_GATEWAY_HTTP_LISTEN": gateway,
        # Of the others nobody needs to be there.
        "SATREEL_PEERS": json.dumps({"identity": identity, **dict.fromkeys(PEERS, nobody)}),
    }
    async with AsyncExitStack() as stack:
        for module, extra in (
            ("services.identity", {}),
            ("graphql_gateway", {}),
            ("tests.mesh.echo_main", {"SATREEL_ECHO_LISTEN": first, "SATREEL_PEERS": "{}"}),
            ("tests.mesh.echo_main", {"SATREEL_ECHO_LISTEN": second, "SATREEL_PEERS": "{}"}),
        ):
            await stack.enter_async_context(process(module, shared | extra))
        for address in (identity, gateway, first, second):
            await until(partial(answers, address), PATIENCE_S)
        client = await stack.enter_async_context(Client(f"http://{gateway}"))
        channel = connect(me="gateway", peer="identity", addresses=identity, tls_dir=None)
        stack.push_async_callback(channel.close)
        running = Town(client, identity_service_pb2_grpc.IdentityServiceStub(channel))
        for address in (first, second):
            echo = connect(me="gateway", peer="echo", addresses=address, tls_dir=None, service=SERVICE)
            stack.push_async_callback(echo.close)
            running.echoes.append(EchoStub(echo))
        yield running


async def test_an_ended_session_is_out_everywhere_within_five_seconds(
    town: Town, own_valkey: ValkeyServer
) -> None:
    await revoked_is_out(town)
    await used_twice_is_out(town)
    await nothing_old_is_believed_without_redis(town, own_valkey)


async def revoked_is_out(town: Town) -> None:
    wallet = Wallet()
    stays, goes = await town.log_in(wallet), await town.log_in(wallet)
    token, staying = await town.user_token(goes), await town.user_token(stays)
    assert await town.client.ask(ME, token=goes.access_token)
    assert [await town.refusal(echo, token) for echo in town.echoes] == ["", ""]
    async with (
        town.client.socket(goes.access_token) as closes,
        town.client.socket(stays.access_token) as remains,
    ):
        answer = await town.client.post(
            f'mutation {{ logOut(sessionId: "{goes.id}") }}', token=stays.access_token
        )
        assert answer.json["data"] == {"logOut": 1}
        revoked_s = time.monotonic()
        assert await closes.closed() == (4403, "The session was ended")
        assert time.monotonic() - revoked_s < OUT_WITHIN_S
        for echo in town.echoes:
            await until_out(partial(town.refusal, echo, token), "TOKEN_INVALID", revoked_s)
        await until_out(partial(town.refusal_of_gateway, goes.access_token), "401", revoked_s)
        await remains.subscribe(ME)
        assert await remains.data() == {"me": {"user": {"address": wallet.address}}}
    assert [await town.refusal(echo, staying) for echo in town.echoes] == ["", ""]


async def used_twice_is_out(town: Town) -> None:
    session = await town.log_in(Wallet())
    query = f'mutation {{ refreshTokens(refreshToken: "{session.refresh_token}") {{ accessToken }} }}'
    stolen = (await town.client.ask(query))["refreshTokens"]["accessToken"]
    assert await town.client.ask(ME, token=stolen)
    assert (await town.client.post(query)).code == "REFRESH_TOKEN_REUSED"
    used_s = time.monotonic()
    await until_out(partial(town.refusal_of_gateway, stolen), "401", used_s)


async def nothing_old_is_believed_without_redis(town: Town, own_valkey: ValkeyServer) -> None:
    session = await town.log_in(Wallet())
    token = await town.user_token(session)
    assert await town.client.ask(ME, token=session.access_token)
    own_valkey.kill()
    killed_s = time.monotonic()
    told = await town.refusal(town.echoes[0], token)
    assert told == "" or time.monotonic() - killed_s > BELIEVED_FOR_S
    for echo in town.echoes:
        await until_out(partial(town.refusal, echo, token), "REVOCATIONS_UNKNOWN", killed_s)
    await until_out(partial(town.refusal_of_gateway, session.access_token), "503", killed_s)


async def until_out(refusal: Callable[[], Awaitable[str]], reason: str, ended_s: float) -> None:
    """Until that is the reason; whoever asks OUT_WITHIN_S after the end or later is refused, for some reason.

    When it was asked is what counts: a slow machine makes answers late, and none of them wrong.
    """
    async with asyncio.timeout(PATIENCE_S):
        asked_s = time.monotonic()
        while (told := await refusal()) != reason:
            assert told or asked_s - ended_s < OUT_WITHIN_S
            await asyncio.sleep(0.02)
            asked_s = time.monotonic()


async def until(ready: Callable[[], Awaitable[bool]], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not await ready():
            await asyncio.sleep(0.02)


async def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def process(module: str, variables: dict[str, str]) -> AsyncIterator[Process]:
    """Runs until the block ends; then it must end in good order."""
    environment = without_settings()
    environment |= {"SATREEL_DRAIN_S": "0", "SATREEL_STOP_GRACE_S": "0.2", **variables}
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.terminate()
        async with asyncio.timeout(PATIENCE_S):
            _, errors = await started.communicate()
        assert b"Traceback" not in errors, errors.decode()
