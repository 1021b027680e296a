"""A person's small wallet: one key, its coins, payments, and log-in signatures.

It uses keys, scripts and transactions of bsv-sdk. Fees, change and value conservation are counted here:
the SDK's own `fee()` can go negative and its `verify()` accepts outputs larger than inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bsv.base58 import base58check_decode
from bsv.compat import bsm
from bsv.constants import Network
from bsv.keys import PrivateKey
from bsv.script.type import P2PKH
from bsv.transaction import Transaction
from bsv.transaction_input import TransactionInput
from bsv.transaction_output import TransactionOutput
from bsv.utils import stringify_ecdsa_recoverable

from sandbox.regtest import Coin
from sandbox.rpc import NodeRefused, NodeRpc, NodeUnreachable

FEE_SATS_PER_KB = 100
SATS_MAX = 21_000_000 * 100_000_000
INPUT_BYTES = 149  # P2PKH, compressed key, the longest signature
OUTPUT_BYTES = 34
OVERHEAD_BYTES = 12
TESTNET_PREFIX = b"\x6f"
ALREADY_KNOWN = ((-27, ""), (-26, "257: txn-already-known"))
FATE_UNKNOWN = ((-25, ""), (-26, "258: txn-mempool-conflict"))


class WalletRefusal(Exception):  # noqa: N818 - said to a person, as it stands
    """The wallet cannot do what was asked; nothing has changed."""


class NotEnoughCoins(WalletRefusal):
    """The coins do not cover amount and fee."""


class Broadcast(StrEnum):
    """What the node said about a payment. UNKNOWN: no answer, or one that is not final."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Payment:
    """A signed transaction. `spent`: the coins it uses; `change`: what comes back, if anything."""

    txid: str
    raw_hex: str
    fee_sats: int
    spent: tuple[Coin, ...]
    change: Coin | None


def fee_for(size_bytes: int) -> int:
    """The miner's fee in satoshis, rounded up."""
    return -(-size_bytes * FEE_SATS_PER_KB // 1000)


class Wallet:
    """One key on a test network. Coins come in by `receive`; `pay` reserves them until its fate is known."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = PrivateKey(key.serialize(), Network.TESTNET)
        self._lock = P2PKH().lock(self._key.public_key().hash160())
        self._coins: dict[tuple[str, int], Coin] = {}

    def __repr__(self) -> str:
        return f"Wallet({self.address})"

    @classmethod
    def random(cls) -> Wallet:
        """A fresh key."""
        return cls(PrivateKey())

    @classmethod
    def from_seed(cls, seed: str) -> Wallet:
        """The same key for the same text: for demos, never for money."""
        return cls(PrivateKey(hashlib.sha256(f"satreel sandbox wallet:{seed}".encode()).digest()))

    @property
    def address(self) -> str:
        """P2PKH address, as regtest and testnet write it."""
        return self._key.address()

    @property
    def public_key_hex(self) -> str:
        """The compressed public key."""
        return self._key.public_key().hex()

    @property
    def balance_sats(self) -> int:
        """Sum of the coins that are not reserved."""
        return sum(coin.sats for coin in self._coins.values())

    @property
    def coins(self) -> tuple[Coin, ...]:
        """The coins that are not reserved."""
        return tuple(self._coins.values())

    def sign_message(self, text: str) -> str:
        """Bitcoin Signed Message of `text` in UTF-8: base64 of header byte, r and s."""
        digest = bsm.magic_hash(text.encode())
        return stringify_ecdsa_recoverable(self._key.sign_recoverable(digest, hasher=None), compressed=True)

    def receive(self, coin: Coin) -> None:
        """Take a coin in. Raises WalletRefusal when another key locks it."""
        if coin.script_hex != self._lock.hex():
            raise WalletRefusal(f"{coin.txid}:{coin.vout} is not locked to {self.address}")
        self._coins[coin.txid, coin.vout] = coin

    def receive_from(self, raw_hex: str) -> tuple[Coin, ...]:
        """Take in every coin that this transaction pays to the wallet's address, and return them."""
        transaction = Transaction.from_hex(raw_hex)
        if transaction is None:
            raise WalletRefusal("not a transaction")
        found = tuple(
            Coin(transaction.txid(), vout, output.satoshis, output.locking_script.hex())
            for vout, output in enumerate(transaction.outputs)
            if output.locking_script.hex() == self._lock.hex()
        )
        for coin in found:
            self.receive(coin)
        return found

    def pay(self, address: str, sats: int) -> Payment:
        """Build and sign a payment; its coins are reserved from now on.

        Raises NotEnoughCoins, or WalletRefusal for an address of another network.
        """
        if not 1 <= sats <= SATS_MAX:
            raise WalletRefusal(f"cannot pay {sats} sat")
        target = TransactionOutput(P2PKH().lock(_test_key_hash(address)), sats)
        chosen = self._choose(sats)
        change_sats = sum(coin.sats for coin in chosen) - sats - fee_for(_size(len(chosen), 2))
        outputs = [target]
        if change_sats > 0:  # otherwise what is left goes to the miner
            outputs.append(TransactionOutput(self._lock, change_sats))
        payment = self._signed(chosen, outputs)
        for coin in chosen:
            del self._coins[coin.txid, coin.vout]
        return payment

    def release(self, payment: Payment) -> None:
        """Give back the coins of a payment that was not sent, or was rejected."""
        for coin in payment.spent:
            self.receive(coin)

    async def broadcast(self, payment: Payment, rpc: NodeRpc) -> Broadcast:
        """Send a payment; safe to repeat. Accepted: the change is there. Rejected: the coins are back."""
        try:
            await rpc.text("sendrawtransaction", payment.raw_hex)
        except NodeRefused as refusal:
            if not _is_one_of(refusal, ALREADY_KNOWN):
                if _is_one_of(refusal, FATE_UNKNOWN):
                    return Broadcast.UNKNOWN
                self.release(payment)
                return Broadcast.REJECTED
        except NodeUnreachable:
            return Broadcast.UNKNOWN
        if payment.change is not None:
            self.receive(payment.change)
        return Broadcast.ACCEPTED

    def _choose(self, sats: int) -> list[Coin]:
        """The largest coins first, until they cover amount and fee of a payment without change."""
        chosen: list[Coin] = []
        for coin in sorted(self._coins.values(), key=lambda coin: coin.sats, reverse=True):
            chosen.append(coin)
            if sum(c.sats for c in chosen) >= sats + fee_for(_size(len(chosen), 1)):
                return chosen
        needed = sats + fee_for(_size(max(1, len(chosen)), 1))
        raise NotEnoughCoins(f"{self.balance_sats} sat are there, {needed} sat are needed")

    def _signed(self, coins: Sequence[Coin], outputs: list[TransactionOutput]) -> Payment:
        inputs = [self._input(coin) for coin in coins]
        transaction = Transaction(inputs, outputs)
        transaction.sign()
        raw_hex, txid = transaction.hex(), transaction.txid()
        fee_sats = sum(coin.sats for coin in coins) - sum(output.satoshis for output in outputs)
        if fee_sats < fee_for(len(raw_hex) // 2):
            raise WalletRefusal(f"a fee of {fee_sats} sat is too low for {len(raw_hex) // 2} bytes")
        change = Coin(txid, 1, outputs[1].satoshis, self._lock.hex()) if len(outputs) > 1 else None
        return Payment(txid, raw_hex, fee_sats, tuple(coins), change)

    def _input(self, coin: Coin) -> TransactionInput:
        spending = TransactionInput(
            source_txid=coin.txid,
            source_output_index=coin.vout,
            unlocking_script_template=P2PKH().unlock(self._key),
        )
        spending.satoshis, spending.locking_script = coin.sats, self._lock
        return spending


def _size(inputs: int, outputs: int) -> int:
    return OVERHEAD_BYTES + inputs * INPUT_BYTES + outputs * OUTPUT_BYTES


def _test_key_hash(address: str) -> bytes:
    """The key hash of a regtest or testnet P2PKH address; the SDK would take any network's."""
    try:
        decoded = base58check_decode(address)
    except (ValueError, IndexError) as error:
        raise WalletRefusal(f"{address!r} is no address") from error
    if decoded[:1] != TESTNET_PREFIX or len(decoded) != 21:
        raise WalletRefusal(f"{address} is no P2PKH address of a test network")
    return bytes(decoded[1:])


def _is_one_of(refusal: NodeRefused, known: Sequence[tuple[int, str]]) -> bool:
    return any(refusal.code == code and refusal.reason.startswith(text) for code, text in known)
