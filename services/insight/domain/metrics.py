"""The catalogue: every metric with its unit, how its points are joined, and the events it is counted from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Aggregation(StrEnum):
    """How the facts of a step make its value."""

    SUM = "SUM"
    # Each subject counts once per step.
    DISTINCT = "DISTINCT"
    # The newest value; it holds until there is another.
    LAST = "LAST"


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that can be asked for."""

    name: str
    unit: str
    aggregation: Aggregation
    description: str
    # Which events of which service it is counted from.
    source: str


def _sum(name: str, unit: str, description: str, source: str) -> Metric:
    return Metric(name, unit, Aggregation.SUM, description, source)


METRICS = (
    Metric(
        "users.active",
        "users",
        Aggregation.DISTINCT,
        "Users who logged in, watched, traded, deposited or withdrew.",
        "identity log-ins; ledger sessions; market listings, offers, sales; chain deposits and withdrawals",
    ),
    _sum("users.new", "users", "First log-ins.", "identity UserCreated"),
    _sum("users.log_ins", "log-ins", "Log-ins, each a session on one device.", "identity LoggedIn"),
    _sum("sessions.opened", "sessions", "Paid viewings begun.", "ledger sessions that opened"),
    _sum("sessions.ended", "sessions", "Paid viewings that ended.", "ledger sessions that ended"),
    _sum(
        "engagement.paid_seconds", "seconds", "Seconds paid for, told when a viewing ends.", "ledger sessions"
    ),
    _sum(
        "transactions.count",
        "transactions",
        "Postings in satoshis, without the splitting of takings inside a round.",
        "ledger postings",
    ),
    _sum("transactions.volume_sat", "sat", "What those postings moved.", "ledger postings"),
    _sum("rounds.opened", "rounds", "Rounds that became active.", "rounds: starts_at"),
    _sum("rounds.completed", "rounds", "Rounds that were paid and recorded.", "rounds: COMPLETED"),
    _sum("rounds.voided", "rounds", "Rounds that an administrator undid.", "rounds: VOIDED"),
    _sum("rounds.entries", "memes", "Memes in the rounds that opened.", "rounds: starts_at"),
    Metric(
        "rounds.participation",
        "users",
        Aggregation.DISTINCT,
        "Viewers who opened a paid viewing in a round.",
        "ledger sessions that opened",
    ),
    _sum(
        "revenue.takings",
        "sat",
        "What viewers paid for viewing, less what went back.",
        "ledger view:, refund:",
    ),
    _sum(
        "revenue.platform_fee",
        "sat",
        "The platform's fees of viewing and of sales, less what went back.",
        "ledger share:…:fee, void:…:fee, and sale: postings to platform:fee",
    ),
    _sum("revenue.creators", "sat", "Creators' instant part.", "ledger share:…:creator, void:…:creator"),
    _sum("revenue.owners", "sat", "Owners' instant part.", "ledger share:…:owner:…, void:…:owner:…"),
    _sum("revenue.pool", "sat", "What rounds brought to their pools.", "ledger pool:, void:…:pool"),
    _sum("revenue.payouts", "sat", "Paid out of pools.", "ledger payout:"),
    _sum("market.listings", "listings", "Titles listed for sale.", "market listings, when made"),
    _sum("market.offers", "offers", "Offers of money for titles.", "market offers, when made"),
    _sum("market.sales", "sales", "Titles sold.", "market sales"),
    _sum("market.volume", "sat", "What buyers paid for titles.", "market sales"),
    _sum("content.uploaded", "memes", "Pictures accepted into the pipeline.", "content: created_at"),
    _sum("content.published", "memes", "Memes published.", "content PUBLISHED"),
    _sum("content.rejected", "memes", "Memes rejected.", "content REJECTED"),
    _sum("content.taken_down", "memes", "Memes taken down.", "content TAKEN_DOWN"),
    _sum("chain.deposits", "deposits", "Deposits credited, less those reversed.", "chain deposits"),
    _sum("chain.deposits_sat", "sat", "What those deposits brought.", "chain deposits"),
    _sum("chain.withdrawals", "withdrawals", "Withdrawals confirmed.", "chain withdrawals"),
    _sum("chain.withdrawals_sat", "sat", "What those withdrawals paid.", "chain withdrawals"),
    _sum("chain.blocks", "blocks", "Blocks that joined the winning chain.", "chain blocks"),
    _sum("chain.orphans", "blocks", "Blocks that a reorganisation put aside.", "chain blocks"),
    Metric("chain.height", "blocks", Aggregation.LAST, "Height of the newest block.", "chain blocks"),
    _sum(
        "insight.gaps",
        "gaps",
        "Times a stream could not be resumed: numbers of that service may lack events of that moment.",
        "insight itself",
    ),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def table() -> str:
    """The catalogue as a Markdown table, for README.md."""
    lines = ["| metric | unit | joined by | says | counted from |", "|---|---|---|---|---|"]
    lines += [
        f"| `{found.name}` | {found.unit} | {found.aggregation} | {found.description} | {found.source} |"
        for found in METRICS
    ]
    return "\n".join(lines)
