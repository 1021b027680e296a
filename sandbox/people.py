"""Demo people: each with a wallet of their own, known to the mesh only through its public GraphQL API."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.client import Client
from sandbox.pictures.meme import meme_bytes
from sandbox.regtest import Regtest
from sandbox.wallet import Wallet

POLL_S = 0.25

CHALLENGE = "mutation Challenge($address: String!) { createChallenge(address: $address) { id message } }"
LOG_IN = """mutation LogIn($challenge: ID!, $address: String!, $signature: String!) {
  logIn(challengeId: $challenge, address: $address, signature: $signature) {
    accessToken user { id displayName roles }
  }
}"""
NAME = "mutation Name($name: String!) { setDisplayName(displayName: $name) { id } }"
DEPOSIT_ADDRESS = "query DepositAddress { me { depositAddress { address } } }"
BALANCE = "query Balance { me { balance { balance available held } } }"
UPLOAD = """mutation Upload($picture: Upload!, $name: String!, $creator: ID) {
  uploadMeme(picture: $picture, name: $name, creatorId: $creator) { id name state }
}"""
MEME = """query Meme($id: ID!) {
  meme(id: $id) {
    id name state reason reasonDetail quality posterUrl filmUrl owner { displayName }
    inscription { origin outpoint state confirmations }
  }
}"""
WATCH = """subscription Watch($meme: ID!, $budget: Sats!) {
  watch(memeId: $meme, budget: $budget) { viewingId seconds burnedSats stopReason filmUrl }
}"""


class NotInTime(Exception):  # noqa: N818 - said to a person, as it stands
    """Something did not happen within the time that it should take."""


@dataclass(slots=True)
class Viewing:
    """What a paid viewing came to."""

    seconds: int = 0
    burned_sats: int = 0
    stop_reason: str | None = None
    film_url: str = ""


@dataclass(slots=True)
class Person:
    """Somebody with a wallet and a client."""

    name: str
    wallet: Wallet
    client: Client
    user_id: str = ""
    roles: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, url: str, *, seed: str) -> Person:
        """A person who is not logged in yet; the same wallet for the same seed."""
        return cls(name, Wallet.from_seed(f"{seed}/{name}"), Client(url))

    async def log_in(self) -> None:
        """By a wallet signature over the mesh's challenge."""
        # Whoever shows a session that has ended is refused, whatever is asked.
        self.client.access_token = ""
        address = self.wallet.address
        challenge = (await self.client.ask(CHALLENGE, address=address))["createChallenge"]
        signature = self.wallet.sign_message(challenge["message"])
        answer = await self.client.ask(
            LOG_IN, challenge=challenge["id"], address=address, signature=signature
        )
        session = answer["logIn"]
        self.client.access_token = session["accessToken"]
        self.user_id, self.roles = session["user"]["id"], session["user"]["roles"]
        if session["user"]["displayName"] != self.name:
            await self.client.ask(NAME, name=self.name)

    async def deposit_address(self) -> str:
        """Where the person pays in."""
        return str((await self.client.ask(DEPOSIT_ADDRESS))["me"]["depositAddress"]["address"])

    async def deposit(self, sats: int, chain: Regtest) -> str:
        """Sends real coins to the person's own deposit address; gives the transaction's id."""
        return (await chain.fund(await self.deposit_address(), sats)).txid

    async def balance_sats(self) -> int:
        """What the ledger says the person has."""
        return int((await self.client.ask(BALANCE))["me"]["balance"]["balance"])

    async def until_balance(self, at_least_sats: int, timeout_s: float) -> int:
        """Waits for money. Raises NotInTime."""
        give_up_at = time.monotonic() + timeout_s
        while (balance := await self.balance_sats()) < at_least_sats:
            if time.monotonic() > give_up_at:
                raise NotInTime(f"{self.name} has {balance} sat after {timeout_s:.0f} s, not {at_least_sats}")
            await asyncio.sleep(POLL_S)
        return balance

    async def upload(self, seed: int, name: str, *, creator: Person) -> str:
        """Uploads a meme that the sandbox draws; gives its id. For administrators."""
        picture = await asyncio.to_thread(meme_bytes, seed)
        return await self.upload_bytes(picture, "image/png", name, creator=creator)

    async def upload_bytes(self, picture: bytes, mime: str, name: str, *, creator: Person) -> str:
        """Uploads any bytes; gives the meme's id. Raises GraphqlError with the rule that they break."""
        answer = await self.client.upload(UPLOAD, picture, "meme", mime, name=name, creator=creator.user_id)
        return str(answer["uploadMeme"]["id"])

    async def meme(self, meme_id: str) -> dict[str, Any]:
        """A meme as everybody sees it."""
        found: dict[str, Any] = (await self.client.ask(MEME, id=meme_id))["meme"]
        return found

    async def watch(
        self, meme_id: str, budget: int, *, at_most_s: float, viewing: Viewing | None = None
    ) -> Viewing:
        """Watches and pays until budget, round or `at_most_s` ends it; `viewing` is kept up to date."""
        viewing = viewing or Viewing()
        events = self.client.follow(WATCH, meme=meme_id, budget=budget)
        async with contextlib.aclosing(events):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(at_most_s):
                    async for event in events:
                        _take(viewing, event["watch"])
        return viewing


def _take(viewing: Viewing, event: dict[str, Any]) -> None:
    viewing.seconds, viewing.burned_sats = event["seconds"], event["burnedSats"]
    viewing.stop_reason, viewing.film_url = event["stopReason"], event["filmUrl"]
