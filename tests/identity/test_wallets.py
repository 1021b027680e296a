"""Signatures: those of other people's software are accepted, all else is refused, and nothing raises."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from bsv.constants import Network as BsvNetwork
from bsv.keys import PublicKey
from hypothesis import given
from hypothesis import strategies as st

from services.identity.adapters.wallets import BitcoinWallets, Network
from services.identity.domain.failures import AddressInvalid
from services.identity.domain.users import Address
from tests.identity.conftest import Wallet

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "bsm.json").read_text()
)["vectors"]
MAIN = BitcoinWallets(Network.MAIN)
REGTEST = BitcoinWallets(Network.REGTEST)
WALLET = Wallet()


def p2pkh_of(vector: dict[str, Any]) -> str | None:
    if vector.get("pubkey"):
        return str(PublicKey(vector["pubkey"]).address(network=BsvNetwork.MAINNET))
    addresses = [vector.get("address"), *vector.get("addresses", [])]
    return next((address for address in addresses if address and address.startswith("1")), None)


@pytest.mark.parametrize("vector", [found for found in VECTORS if p2pkh_of(found)], ids=lambda v: v["source"])
async def test_public_vectors(vector: dict[str, Any]) -> None:
    address = MAIN.checked_address(p2pkh_of(vector) or "")
    assert await MAIN.verify(address=address, message=vector["message"], signature=vector["signature"])
    assert not await MAIN.verify(
        address=address, message=vector["message"] + " ", signature=vector["signature"]
    )


async def test_only_the_owner_over_exactly_this_text() -> None:
    address, message = Address(WALLET.address), "text\nof two lines, with ü"
    signature = WALLET.sign(message)
    assert await REGTEST.verify(address=address, message=message, signature=signature)
    assert not await REGTEST.verify(address=address, message=message, signature=Wallet().sign(message))
    assert not await REGTEST.verify(address=address, message=message + "\n", signature=signature)
    assert not await REGTEST.verify(address=Address(Wallet().address), message=message, signature=signature)


@given(
    st.one_of(st.text(max_size=200), st.binary(max_size=80).map(lambda raw: base64.b64encode(raw).decode()))
)
async def test_garbage_is_no_signature(signature: str) -> None:
    assert not await REGTEST.verify(address=Address(WALLET.address), message="hello", signature=signature)


@given(byte=st.integers(0, 64), value=st.integers(1, 255))
async def test_a_changed_signature_is_none(byte: int, value: int) -> None:
    raw = bytearray(base64.b64decode(WALLET.sign("hello")))
    raw[byte] ^= value
    compression_said_differently = byte == 0 and value == 4
    accepted = await REGTEST.verify(
        address=Address(WALLET.address), message="hello", signature=base64.b64encode(raw).decode()
    )
    assert accepted == (compression_said_differently and 27 <= raw[0] < 35)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
        WALLET.address[:-1],
        WALLET.address + "1",
        " " + WALLET.address,
        "3P14159f73E4gFr7JterCCQh9QjiTjiZrG",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        "1" * 90,
        "m" * 5_000,
        Wallet(BsvNetwork.MAINNET).address,
    ],
    ids=range(11),
)
def test_addresses_that_are_none_here(address: str) -> None:
    with pytest.raises(AddressInvalid):
        REGTEST.checked_address(address)


def test_addresses_of_their_network() -> None:
    assert REGTEST.checked_address(WALLET.address) == WALLET.address
    assert BitcoinWallets(Network.TEST).checked_address(WALLET.address) == WALLET.address
    with pytest.raises(AddressInvalid):
        MAIN.checked_address(WALLET.address)
