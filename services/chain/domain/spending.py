"""Building transactions: fees, choice of coins, change, and the checks before anything is signed.

Fees are `rate` satoshis per 1,000 bytes, rounded up, on the largest size the signed transaction can have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from services.chain.domain.failures import BadTransaction, WalletEmpty
from services.chain.domain.keys import KeyPath, SigningKey
from services.chain.domain.scripts import P2PKH_BYTES
from services.chain.domain.values import SATS_MAX, Outpoint, Sats, Txid
from services.chain.domain.wire import Output, Spent, assemble, digests, txid_of, unlocking, varint_bytes

OUTPUTS_MAX = 1_000
"""Payments in one transaction."""
INPUTS_MAX = 600
UNLOCKING_BYTES_MAX = 1 + 72 + 1 + 33
INPUT_BYTES_MAX = 36 + 1 + UNLOCKING_BYTES_MAX + 4
CHANGE_BYTES = 8 + 1 + P2PKH_BYTES
OVERHEAD_BYTES = 4 + 1 + 1 + 4
"""Version, lock time, and the counts of few inputs and outputs."""
SATS_PER_KB_MIN = 100


@dataclass(frozen=True, slots=True)
class Spendable:
    """A coin as far as building goes. `script` is what locks it, where that is not the key's plain P2PKH.

    So a key is derived only for a coin that is chosen: a wallet may look through thousands.
    """

    outpoint: Outpoint
    sats: Sats
    path: KeyPath
    script: bytes = b""


@dataclass(frozen=True, slots=True)
class Draft:
    """A transaction before it is signed. The change outputs stand behind the payments."""

    inputs: tuple[Spendable, ...]
    outputs: tuple[Output, ...]
    change: int
    fee_sats: Sats


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed transaction."""

    txid: Txid
    raw: bytes
    fee_sats: Sats


@dataclass(frozen=True, slots=True)
class ChangeRule:
    """How change comes back: to which script, in how many parts at most, and none smaller than `sats_min`.

    Several parts let several transactions be under way at once. What is below `dust_sats` goes to the miner.
    """

    script: bytes
    parts_max: int = 1
    sats_min: int = 10_000
    dust_sats: int = 20


def fee_for(size_bytes: int, sats_per_kb: int) -> Sats:
    """The miner's fee of a transaction of this size, rounded up."""
    return Sats(-(-size_bytes * sats_per_kb // 1000))


def size_max(inputs: int, outputs: Sequence[Output], change: int = 0) -> int:
    """Bytes of a transaction with so many P2PKH inputs, signatures at their longest."""
    return _size_max(inputs, len(outputs) + change, _bytes_of(outputs) + change * CHANGE_BYTES)


def _size_max(inputs: int, outputs: int, outputs_bytes: int) -> int:
    return 8 + varint_bytes(inputs) + inputs * INPUT_BYTES_MAX + varint_bytes(outputs) + outputs_bytes


def _bytes_of(outputs: Sequence[Output]) -> int:
    return sum(output.size_bytes for output in outputs)


def draft(
    outputs: Sequence[Output],
    pool: Sequence[Spendable],
    change: ChangeRule,
    sats_per_kb: int,
    *,
    fixed: Sequence[Spendable] = (),
    extra_sats: int = 0,
) -> Draft:
    """Chooses coins for the outputs, `fixed` ones first and in any case, and adds change.

    Largest coins first: few inputs, small fees. `extra_sats` go to the miner on top. Without outputs there is
    change in any case. Raises WalletEmpty.
    """
    paid = sum(int(output.sats) for output in outputs) + extra_sats
    wanted, back = (paid, 0) if outputs else (paid + change.dust_sats, 1)
    chosen = list(fixed)
    have = sum(int(coin.sats) for coin in chosen)
    fee = _fees(outputs, sats_per_kb)
    ordered = sorted(pool, key=attrgetter("sats"))
    while True:
        needed = wanted + fee(max(1, len(chosen)), back)
        if chosen and have >= needed:
            returned = _change(have - paid, change, lambda parts: fee(len(chosen), parts))
            back_sats = sum(int(output.sats) for output in returned)
            fee_sats = Sats(have - paid - back_sats + extra_sats)
            return Draft(tuple(chosen), (*outputs, *returned), len(returned), fee_sats)
        if not ordered or len(chosen) >= INPUTS_MAX:
            raise WalletEmpty(available=have, needed=needed)
        chosen.append(ordered.pop())
        have += chosen[-1].sats


def _fees(outputs: Sequence[Output], sats_per_kb: int) -> Callable[[int, int], Sats]:
    """The fee for so many inputs and change outputs besides these outputs, which are measured once."""
    count, outputs_bytes = len(outputs), _bytes_of(outputs)

    def fee(inputs: int, change: int) -> Sats:
        size_bytes = _size_max(inputs, count + change, outputs_bytes + change * CHANGE_BYTES)
        return fee_for(size_bytes, sats_per_kb)

    return fee


def _change(left_sats: int, rule: ChangeRule, fee: Callable[[int], Sats]) -> list[Output]:
    """The change outputs: `left_sats` less the `fee` with so many of them, in as many parts as may be."""
    for parts in range(rule.parts_max, 0, -1):
        rest = left_sats - fee(parts)
        least = rule.dust_sats if parts == 1 else rule.sats_min * parts
        if rest >= max(least, 1):
            amounts = [rest // parts + (1 if part < rest % parts else 0) for part in range(parts)]
            return [Output(Sats(amount), rule.script) for amount in amounts]
    return []


def check(found: Draft, sats_per_kb: int, dust_sats: int, *, extra_sats: int = 0) -> None:
    """The rules every transaction obeys before it is signed. Raises BadTransaction.

    Value: inputs = outputs + fee. Fee: at least the rate on the largest size; at most that plus a change too
    small to be returned; `extra_sats` on top of both. Dust: at least 1 sat on an output that can be spent.
    No coin twice.
    """
    if not found.inputs or not found.outputs:
        raise BadTransaction("nothing is spent, or nobody is paid")
    if len({coin.outpoint for coin in found.inputs}) != len(found.inputs):
        raise BadTransaction("a coin is spent twice")
    if found.fee_sats != sum(c.sats for c in found.inputs) - sum(o.sats for o in found.outputs):
        raise BadTransaction("inputs are not outputs and fee")
    least = fee_for(size_max(len(found.inputs), found.outputs), max(sats_per_kb, SATS_PER_KB_MIN))
    most = fee_for(size_max(len(found.inputs), found.outputs, 1), max(sats_per_kb, SATS_PER_KB_MIN))
    least, most = Sats(least + extra_sats), Sats(most + extra_sats + dust_sats)
    if not least <= found.fee_sats <= most:
        raise BadTransaction(f"a fee of {found.fee_sats} sat is not within {least}..{most}")
    for output in found.outputs:
        data_only = output.script[:2] == b"\x00\x6a"
        if not (0 if data_only else 1) <= output.sats <= SATS_MAX:
            raise BadTransaction(f"an output of {output.sats} sat")


def sign(found: Draft, key: Callable[[KeyPath], SigningKey], mark: int = 0) -> Signed:
    """Signs every input. `check` it first.

    `mark` (4 bytes) tells transactions apart that do the same: it is the lock time, which means nothing else.
    """
    signers = [key(coin.path) for coin in found.inputs]
    spent = [
        Spent(coin.outpoint, coin.sats, coin.script or signer.script)
        for coin, signer in zip(found.inputs, signers, strict=True)
    ]
    unlocked = [
        unlocking(signer.sign_digest(digest), signer.public_key)
        for signer, digest in zip(signers, digests(spent, found.outputs, mark), strict=True)
    ]
    raw = assemble(spent, unlocked, found.outputs, mark)
    return Signed(txid_of(raw), raw, found.fee_sats)


def split_fee(fee_sats: Sats, ceilings: Sequence[Sats]) -> tuple[list[Sats], Sats]:
    """Each payment's part of the fee, none above its ceiling, and what is left for the operator.

    Parts are equal to within a satoshi, except where a ceiling is lower; together they are exactly the fee.
    """
    shares, left = [0] * len(ceilings), int(fee_sats)
    by_ceiling = sorted(range(len(ceilings)), key=lambda place: (ceilings[place], place))
    for done, place in enumerate(by_ceiling):
        shares[place] = min(int(ceilings[place]), left // (len(ceilings) - done))
        left -= shares[place]
    return [Sats(share) for share in shares], Sats(left)
