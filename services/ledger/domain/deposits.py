"""Deposits: coins seen on chain become satoshis here, and go back when the chain undoes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from services.ledger.domain.books import (
    CHAIN_COINS,
    CHAIN_COLD,
    FOR_CHAIN,
    INT64_MAX,
    INT64_MIN,
    SAT,
    Books,
    derived_id,
    traits_of,
)
from services.ledger.domain.commands import Deposit, ReverseDeposit
from services.ledger.domain.reasons import Reason, Refused


@dataclass(frozen=True, slots=True)
class Reversal:
    """What a reversal did, in satoshis."""

    command: ReverseDeposit
    taken_sats: int
    debt_sats: int
    at_ns: int


class Credited:
    """A deposit id's history: its body as credited last, whether that stands, and when it was.

    There are as many as deposits within the horizon: names and hashes are shared as far as they are known.
    """

    __slots__ = ("at_ns", "body", "earlier", "stands")

    def __init__(self, body: Deposit, stands: bool, at_ns: int) -> None:
        self.body = body
        self.stands = stands
        self.at_ns = at_ns
        # From other blocks, each undone before the next came.
        self.earlier: tuple[Deposit, ...] = ()


class Deposits:
    """All deposits. An output is never credited twice at the same time, whatever ids are used for it.

    Behind the horizon it remembers outputs that stand, which are credited for ever, and what was undone.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        # Both in the order of crediting, the longest ago first.
        self.by_id: dict[str, Credited] = {}
        self.reversals: dict[str, Reversal] = {}
        self.standing_outpoints: set[bytes] = set()
        # Of the deposit before: those of one block share it.
        self._block_hash = ""

    def credit(self, deposits: tuple[Deposit, ...]) -> None:
        """Credits those that are new; raises before the first if one cannot be."""
        fresh: dict[str, Deposit] = {}
        outpoints: set[bytes] = set()
        totals: dict[str, int] = {}
        for deposit in deposits:
            if fresh.get(deposit.id) == deposit or not self._is_new(deposit):
                continue
            outpoint = outpoint_of(deposit)
            if deposit.id in fresh or outpoint in outpoints or outpoint in self.standing_outpoints:
                raise Refused(Reason.ID_REUSED, "the output was credited before", deposit_id=deposit.id)
            fresh[deposit.id] = deposit
            outpoints.add(outpoint)
            totals[deposit.account] = totals.get(deposit.account, 0) + deposit.amount_sats
        self._check(totals)
        for deposit in fresh.values():
            self._credit(deposit)

    def reverse(self, command: ReverseDeposit) -> Reversal:
        """Takes a standing deposit back; what was spent becomes the account's debt."""
        known = self.reversals.get(command.id)
        if known is not None:
            if known.command != command:
                raise Refused(Reason.ID_REUSED, "the reversal was made with another body")
            return known
        credited = self.by_id.get(command.deposit_id)
        if credited is None or not credited.stands:
            raise Refused(Reason.DEPOSIT_NOT_FOUND, "no such deposit stands", deposit_id=command.deposit_id)
        deposit = credited.body
        account, coins = self._books.number(deposit.account), self._books.number(CHAIN_COINS)
        if not self._books.may_take(account, deposit.amount_sats):
            raise Refused(Reason.OVERFLOW, "the debts would leave int64", deposit_id=deposit.id)
        memo = f"reversal:{deposit.id}"
        debt = self._books.take(derived_id(command.id), account, coins, deposit.amount_sats, memo)
        credited.stands = False
        self.standing_outpoints.discard(outpoint_of(deposit))
        reversal = Reversal(command, deposit.amount_sats - debt, debt, self._books.now_ns)
        self.reversals[command.id] = reversal
        return reversal

    def forget(self, before_ns: int) -> None:
        """Forgets what was credited and reversed before this time, but for the outputs that stand.

        What was undone stays known, too: a late copy of its request must not credit it again, nor one of its
        reversal undo what was credited after it. It is little.
        """
        for id_ in [id_ for id_ in _older(self.by_id, before_ns) if self.by_id[id_].stands]:
            del self.by_id[id_]
        for id_, reversal in list(self.reversals.items()):
            if reversal.at_ns < before_ns and reversal.command.deposit_id not in self.by_id:
                del self.reversals[id_]

    def _is_new(self, deposit: Deposit) -> bool:
        """Whether it is to be credited; False for a repeat. Raises ID_REUSED.

        An output that was reversed may be credited again from another block, under the same id.
        """
        credited = self.by_id.get(deposit.id)
        if credited is None:
            return True
        last, bodies = credited.body, (*credited.earlier, credited.body)
        if deposit in bodies:
            return False
        known = any(body.block_hash == deposit.block_hash for body in bodies)
        if known or credited.stands or replace(last, block_hash=deposit.block_hash) != deposit:
            raise Refused(Reason.ID_REUSED, "the deposit was made with another body", deposit_id=deposit.id)
        return True

    def _check(self, totals: dict[str, int]) -> None:
        books, sum_sats = self._books, 0
        for name, total in totals.items():
            if not traits_of(name, SAT) & FOR_CHAIN or name in (CHAIN_COINS, CHAIN_COLD):
                raise Refused(Reason.ACCOUNT_FORBIDDEN, "deposits go to users and the float", account=name)
            sum_sats += total
            account = books.find(name)
            if (0 if account is None else books.balance[account]) + total > INT64_MAX:
                raise Refused(Reason.OVERFLOW, "the balance would leave int64", account=name)
        coins = books.find(CHAIN_COINS)
        if (0 if coins is None else books.balance[coins]) - sum_sats < INT64_MIN:
            raise Refused(Reason.OVERFLOW, "the coins would leave int64", account=CHAIN_COINS)

    def _credit(self, deposit: Deposit) -> None:
        books, memo = self._books, f"deposit:{deposit.txid}:{deposit.vout}"
        transfer_id = derived_id(f"deposit:{deposit.id}:{deposit.block_hash}")
        coins, account = books.number(CHAIN_COINS), books.number(deposit.account)
        books.post(transfer_id, coins, account, deposit.amount_sats, memo)
        if deposit.block_hash != self._block_hash:
            self._block_hash = deposit.block_hash
        kept = replace(deposit, account=books.names[account], block_hash=self._block_hash)
        before = self.by_id.pop(deposit.id, None)
        credited = self.by_id[deposit.id] = Credited(kept, True, books.now_ns)
        if before is not None:
            credited.earlier = (*before.earlier, before.body)
        self.standing_outpoints.add(outpoint_of(deposit))


def outpoint_of(deposit: Deposit) -> bytes:
    """36 bytes: transaction and output."""
    return bytes.fromhex(deposit.txid) + deposit.vout.to_bytes(4)


def _older(credited: Mapping[str, Credited], before_ns: int) -> Iterator[str]:
    """Ids of what is older than this; they come first."""
    for id_, one in credited.items():
        if one.at_ns >= before_ns:
            return
        yield id_
