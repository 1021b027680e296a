"""`Wallets`: picks the scheme by address and signature, and works beside the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from services.identity.adapters.wallets import bip322, brc100, signed_message
from services.identity.adapters.wallets.addresses import Destination, Kind, Network, parsed
from services.identity.adapters.wallets.curve import Malformed, require_native
from services.identity.adapters.wallets.encoding import from_base64
from services.identity.domain.challenges import Purpose
from services.identity.domain.failures import AddressInvalid, SignatureInvalid
from services.identity.domain.users import Address

SIGNATURE_CHARACTERS_MAX = 512


class BitcoinWallets:
    """Wallets of one network. Raises RuntimeError when bsv-sdk lacks its native part."""

    def __init__(self, network: Network) -> None:
        require_native()
        self._network = network
        # One thread: the extension does not let go of the interpreter, so more would only be in the way.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="signatures")

    def checked_address(self, text: str, purpose: Purpose) -> Address:
        """The address in its one spelling. Raises AddressInvalid when it cannot prove itself for this here.

        BSV pays to P2PKH only: what wallets of other chains prove with segwit keys receives nothing.
        """
        owner = parsed(text, self._network)
        if purpose is Purpose.PAYOUT_ADDRESS and owner.kind is not Kind.P2PKH:
            raise AddressInvalid(
                f"BSV is paid to P2PKH addresses; this is a {owner.kind}", address=text, network=self._network
            )
        return owner.text

    async def verify(self, *, address: Address, message: str, signature: str) -> None:
        """Returns if the address's owner signed exactly this message. Raises SignatureInvalid."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, check, address, self._network, message, signature)


def check(address: str, network: Network, message: str, signature: str) -> None:
    """Raises SignatureInvalid, saying what is wrong, unless the owner of the address signed the message."""
    try:
        good = _check(parsed(address, network), message.encode(), signature)
    except Malformed as problem:
        raise SignatureInvalid(str(problem)) from problem
    if not good:
        raise SignatureInvalid


def _check(owner: Destination, message: bytes, signature: str) -> bool:
    if len(signature) > SIGNATURE_CHARACTERS_MAX:
        raise Malformed("the signature is too long")
    if signature.startswith(bip322.OTHER_PREFIXES):
        raise Malformed("of BIP-322 only simple signatures are read")
    if signature.startswith(bip322.PREFIX):
        return bip322.check(owner, message, from_base64(signature.removeprefix(bip322.PREFIX)))
    raw = from_base64(signature)
    if owner.kind is Kind.IDENTITY_KEY:
        return brc100.check(owner, message, raw)
    # No witness of a single key has as many bytes as a Bitcoin Signed Message.
    if owner.kind is Kind.P2PKH or len(raw) == signed_message.SIGNATURE_BYTES:
        return signed_message.check(owner, message, raw)
    return bip322.check(owner, message, raw)
