"""What is shown of the ledger: copies that later commands do not change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter

from services.ledger.domain.books import CHAIN_COINS, DEBTS, FOR_CHAIN, SAT, USER, Books, Posting
from services.ledger.domain.reasons import Reason, Refused
from services.ledger.domain.rounds import MemeBook, Payout, Round, RoundState
from services.ledger.domain.sessions import SessionView
from services.ledger.domain.shares import Parameters
from services.ledger.domain.titles import Title

# By an account's traits: whether it has satoshis of a user (titles are not the chain's), and is nobody's.
_OF_USERS = bytes(traits & (USER | FOR_CHAIN) == USER | FOR_CHAIN for traits in range(256))
_DEBIT, _CREDIT = attrgetter("debit"), attrgetter("credit")
_OF_OTHERS = bytes(not traits & USER for traits in range(256))


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account as it stood."""

    name: str
    asset: str
    balance: int
    held: int
    debt: int


@dataclass(frozen=True, slots=True)
class PostingView:
    """A posting with its number (from 1) and the names of its accounts.

    `debit_before` and `credit_before` are the numbers of the postings before it of these accounts; 0: none.
    """

    sequence: int
    transfer_id: str
    debit: str
    credit: str
    asset: str
    amount: int
    memo: str
    at_ns: int
    debit_before: int
    credit_before: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What one meme took and earned in a round; satoshis unless named otherwise."""

    meme_id: str
    paid_seconds: int
    takings: int
    fee: int
    creator: int
    owner: int
    pool: int
    scored_seconds: int
    viewers: int
    first_view_ns: int
    running_sessions: int


@dataclass(frozen=True, slots=True)
class RoundView:
    """A round as it stood."""

    id: str
    state: RoundState
    parameters: Parameters
    starts_ns: int
    locks_ns: int
    tallies: tuple[Tally, ...]
    carried_in: int
    pool: int
    payouts: tuple[Payout, ...]
    carried_out: int
    refunded: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all satoshi accounts."""

    sum: int
    coins_owed: int
    users: int
    platform: int
    rounds: int
    debts: int
    postings: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What one journal record changed, for those who watch."""

    at_ns: int
    # Postings as they stand in the books, the number of the first, numbers of accounts that changed: views
    # would cost more than applying them. What the books say is to be read before the next command.
    books: Books
    postings: Sequence[Posting]
    first_posting: int
    accounts: Sequence[int]
    tallies: tuple[Tally, ...]
    round_id: str
    titles: tuple[Title, ...]
    sessions: tuple[SessionView, ...]
    # False: more changed than can be told at once. None of it is here then, and watchers start anew.
    whole: bool = True

    def __bool__(self) -> bool:
        return bool(self.postings or self.accounts or self.tallies or self.titles or self.sessions)


def view_account(books: Books, number: int) -> AccountView:
    """The account of this number."""
    return AccountView(
        books.names[number],
        books.assets[number],
        books.balance[number],
        books.held[number],
        books.debt.get(number, 0),
    )


def find_account(books: Books, name: str, asset: str = SAT) -> int:
    """The number of an account that was ever used. Raises ACCOUNT_NOT_FOUND."""
    number = books.find(name, asset)
    if number is None or not (books.newest[number] or books.balance[number] or books.held[number]):
        raise Refused(Reason.ACCOUNT_NOT_FOUND, "the account has never been used", account=name)
    return number


def view_posting(books: Books, sequence: int) -> PostingView:
    """The posting of this number, one that is not in the history yet."""
    posting = books.postings[sequence - books.first_kept]
    names = books.names
    return PostingView(
        sequence=sequence,
        transfer_id=posting.transfer_id,
        debit=names[posting.debit],
        credit=names[posting.credit],
        asset=books.assets[posting.debit],
        amount=posting.amount,
        memo=posting.memo,
        at_ns=posting.at_ns,
        debit_before=posting.debit_before,
        credit_before=posting.credit_before,
    )


def tally_of(book: MemeBook) -> Tally:
    """What the meme took and earned so far."""
    owner = sum(share.paid for share in book.owners.values())
    return Tally(
        meme_id=book.entry.meme_id,
        paid_seconds=book.paid_seconds,
        takings=book.takings,
        fee=book.fee.paid,
        creator=book.creator.paid,
        owner=owner,
        pool=book.takings - book.fee.paid - book.creator.paid - owner,
        scored_seconds=book.scored_seconds,
        viewers=book.viewer_count,
        first_view_ns=book.first_view_ns,
        running_sessions=book.running,
    )


def view_round(viewed: Round) -> RoundView:
    """The round with all its tallies. An open one's pool is what was carried in and what the memes left."""
    tallies = tuple(tally_of(book) for book in viewed.memes.values())
    pool = viewed.pool_sats
    if viewed.state is RoundState.OPEN:
        pool = viewed.carried_in_sats + sum(tally.pool for tally in tallies)
    return RoundView(
        id=viewed.id,
        state=viewed.state,
        parameters=viewed.rates,
        starts_ns=viewed.command.starts_ns,
        locks_ns=viewed.command.locks_ns,
        tallies=tallies,
        carried_in=viewed.carried_in_sats,
        pool=pool,
        payouts=viewed.payouts,
        carried_out=viewed.carried_out_sats,
        refunded=viewed.refunded_sats,
    )


def totals_of(books: Books) -> Totals:
    """Adds everything up. Anybody may ask for it, and users are many: no look at each of their names."""
    by_prefix = {"platform": 0, "takings": 0, "pool": 0, "chain": 0, DEBTS: 0}
    users = sum(compress(books.balance, books.traits.translate(_OF_USERS)))
    for number in compress(range(len(books.names)), books.traits.translate(_OF_OTHERS)):
        if books.assets[number] == SAT:
            prefix = books.names[number].partition(":")[0]
            by_prefix[prefix] = by_prefix.get(prefix, 0) + books.balance[number]
    return Totals(
        sum=users + sum(by_prefix.values()),
        coins_owed=-by_prefix[CHAIN_COINS.partition(":")[0]],
        users=users,
        platform=by_prefix["platform"],
        rounds=by_prefix["takings"] + by_prefix["pool"],
        debts=-by_prefix[DEBTS],
        postings=books.postings_made,
    )


def touched(books: Books, postings: Iterable[Posting]) -> list[int]:
    """Numbers of the accounts that these postings or something since the last commit changed."""
    numbers = set(books.touched)
    numbers.update(map(_DEBIT, postings))
    numbers.update(map(_CREDIT, postings))
    return list(numbers)
