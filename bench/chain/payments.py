"""Payments made: by the chain service's own rules and checks, and the plain way of bsv-sdk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from bsv.hd.bip32 import Xprv, ckd
from bsv.keys import PrivateKey
from bsv.script.type import P2PKH
from bsv.transaction import Transaction
from bsv.transaction_input import TransactionInput
from bsv.transaction_output import TransactionOutput

from bench.chain.plan import Plan
from bench.chain.samples import SATREEL, SDK, Sample, measured, require_same
from services.chain.domain.addresses import address_of, key_hash_of
from services.chain.domain.keys import CHANGE, KeyPath, KeyRing, KeyUse
from services.chain.domain.scripts import p2pkh
from services.chain.domain.spending import OUTPUTS_MAX, ChangeRule, Signed, Spendable, check, draft, sign
from services.chain.domain.values import Network, Outpoint, Sats, Txid
from services.chain.domain.wire import Output

PAYMENT = "built and signed: 1 input, 2 outputs, to an address never seen"
PAYOUT = f"built and signed: {OUTPUTS_MAX:,} outputs, to addresses never seen"
PAYOUT_AGAIN = "… to the same addresses again"

NETWORK = Network.REGTEST
SATS_PER_KB = 100
DUST_SATS = 20
PAID_SATS = 1_000
# Coins of so many users, whose keys are derived before: a service that runs has them.
USERS = 500
SEED = bytes(range(64))


class Payer:
    """Keys and coins; pays from its coins, one after the other."""

    def __init__(self, coins: int) -> None:
        self.ring = KeyRing(SEED, NETWORK)
        paths = [KeyPath(KeyUse.DEPOSIT, user) for user in range(USERS)]
        self._rule = ChangeRule(self.ring.key(CHANGE).script, dust_sats=DUST_SATS)
        self.coins = [self._coin(number, paths[number % USERS]) for number in range(coins)]

    def _coin(self, number: int, path: KeyPath) -> Spendable:
        txid = Txid(hashlib.sha256(b"coin %d" % number).hexdigest())
        return Spendable(Outpoint(txid, number % 4), Sats(5_000_000), path, self.ring.key(path).script)

    def pay(self, coin: Spendable, addresses: Sequence[str]) -> Signed:
        """The whole way: addresses read, coins and change chosen, everything checked, signed, named."""
        paid = [Output(Sats(PAID_SATS), p2pkh(key_hash_of(address, NETWORK))) for address in addresses]
        found = draft(paid, (coin,), self._rule, SATS_PER_KB)
        check(found, SATS_PER_KB, DUST_SATS)
        return sign(found, self.ring.key)


class SdkPayer:
    """The same payments as bsv-sdk's examples make them; nothing is checked, and the fee is given."""

    def __init__(self, payer: Payer) -> None:
        master = ckd(Xprv.from_seed(SEED), "m/44'/1'/0'/0")
        keys = {path: _private(master, path.index) for path in {coin.path for coin in payer.coins}}
        self._unlock = {path: P2PKH().unlock(key) for path, key in keys.items()}
        self._lock = {path: P2PKH().lock(key.public_key().hash160()) for path, key in keys.items()}
        self._change = P2PKH().lock(payer.ring.key(CHANGE).key_hash)

    def pay(self, coin: Spendable, addresses: Sequence[str], fee_sats: int) -> tuple[bytes, str]:
        """Transaction and id."""
        spent = TransactionInput(
            source_txid=coin.outpoint.txid,
            source_output_index=coin.outpoint.vout,
            unlocking_script_template=self._unlock[coin.path],
        )
        spent.satoshis, spent.locking_script = coin.sats, self._lock[coin.path]
        paid = [TransactionOutput(P2PKH().lock(address), PAID_SATS) for address in addresses]
        back_sats = coin.sats - PAID_SATS * len(addresses) - fee_sats
        tx = Transaction([spent], [*paid, TransactionOutput(self._change, back_sats)])
        tx.sign()
        return tx.serialize(), tx.txid()


def _private(master: object, index: int) -> PrivateKey:
    if not isinstance(master, Xprv):
        raise TypeError("derivation lost the private half")
    key: PrivateKey = master.ckd(index).private_key()
    return key


def addresses(count: int) -> list[str]:
    """Addresses of strangers."""
    return [address_of(hashlib.sha256(b"payee %d" % n).digest()[:20], NETWORK) for n in range(count)]


def samples(plan: Plan) -> Iterator[Sample]:
    """Payments with one output and change, and the largest payouts."""
    payer = Payer(plan.payments)
    sdk = SdkPayer(payer)
    payees = addresses(plan.payments)
    crowd = addresses(OUTPUTS_MAX)

    def pay(number: int) -> Signed:
        return payer.pay(payer.coins[number], payees[number : number + 1])

    def sdk_pay(number: int) -> tuple[bytes, str]:
        return sdk.pay(payer.coins[number], payees[number : number + 1], one.fee_sats)

    def payout(number: int) -> Signed:
        return payer.pay(payer.coins[number], crowd)

    def payout_anew(number: int) -> Signed:
        key_hash_of.cache_clear()
        return payout(number)

    def sdk_payout(number: int) -> tuple[bytes, str]:
        return sdk.pay(payer.coins[number], crowd, many.fee_sats)

    one, many = pay(0), payout(0)
    require_same([(one.raw, one.txid), sdk_pay(0)], "bsv-sdk makes another payment")
    require_same([(many.raw, many.txid), sdk_payout(0)], "bsv-sdk makes another payout")
    yield measured(PAYMENT, SATREEL, plan.payments, pay, before=key_hash_of.cache_clear)
    yield measured(PAYMENT, SDK, plan.payments // 2, sdk_pay)
    yield measured(PAYOUT, SATREEL, plan.payouts, payout_anew)
    yield measured(PAYOUT, SDK, plan.payouts, sdk_payout)
    yield measured(PAYOUT_AGAIN, SATREEL, plan.payouts, payout)
