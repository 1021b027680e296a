"""The tables: the same text on the terminal and in docs/PERFORMANCE.md."""

from __future__ import annotations

from collections.abc import Iterator

from bench.chain.payments import PAYMENT, PAYOUT
from bench.chain.samples import SATREEL, Delivery, Results, Sample
from bench.document import Row, Target, table, targets_table

SAMPLES_HEAD = ("work", "system", "a second and core", "CPU µs", "median ms", "MB/s", "Satreel is")
DELIVERIES_HEAD = ("to the node", "accepted a second", "node CPU µs", "own CPU µs", "of one by one")
TEXTS = {"work", "system", "to the node"}


def targets(results: Results) -> list[Target]:
    """The targets, by CPU: the machine is shared, and one core does the work."""
    payment, payout = results.of(PAYMENT), results.of(PAYOUT)
    return [
        Target(PAYMENT, 8_000, payment.per_core if payment else None, unit="/s a core"),
        Target(PAYOUT, 15, payout.cpu_us / 1e3 if payout else None, at_least=False, unit=" ms"),
    ]


def rendered(results: Results) -> str:
    """All tables and notes."""
    parts = [
        targets_table(targets(results)),
        table(SAMPLES_HEAD, list(_samples(results)), texts=TEXTS),
        table(DELIVERIES_HEAD, list(_deliveries(results.deliveries)), texts=TEXTS),
        "\n".join(f"- {note}" for note in results.notes),
    ]
    return "\n\n".join(parts) + "\n"


def _samples(results: Results) -> Iterator[Row]:
    for sample in results.samples:
        ours = results.of(sample.work)
        peer = ours is not None and sample.system != SATREEL
        yield (
            "" if peer else sample.work,
            sample.system,
            f"{sample.per_core:,.0f}",
            f"{sample.cpu_us:,.1f}",
            f"{sample.median_ms:,.3f}",
            f"{sample.bytes / sample.cpu_s / 1e6:,.0f}" if sample.bytes else "",
            _times(ours, sample) if peer else "",
        )


def _times(ours: Sample | None, other: Sample) -> str:
    return f"{ours.per_core / other.per_core:,.1f} ×" if ours else ""


def _deliveries(deliveries: list[Delivery]) -> Iterator[Row]:
    for one in deliveries:
        first = deliveries[0]
        yield (
            one.way,
            f"{one.rate:,.0f}",
            f"{one.node_cpu_s / one.transactions * 1e6:,.0f}",
            f"{one.own_cpu_s / one.transactions * 1e6:,.0f}",
            "" if one is first else f"{one.rate / first.rate:,.1f} ×",
        )
