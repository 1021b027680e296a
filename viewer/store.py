"""What arrived, in SQLite: spans by trace, points of metrics. Bounded in rows and bytes: the oldest go."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE IF NOT EXISTS traces (
  trace TEXT PRIMARY KEY, began_ns INTEGER, ended_ns INTEGER, spans INTEGER, failed INTEGER,
  service TEXT, name TEXT, named_ns INTEGER, lasts INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS traces_by_time ON traces (began_ns);
CREATE TABLE IF NOT EXISTS spans (
  trace TEXT, span TEXT, parent TEXT, service TEXT, name TEXT, kind TEXT, began_ns INTEGER, ended_ns INTEGER,
  failed INTEGER, attributes TEXT, links TEXT, PRIMARY KEY (trace, span)
);
CREATE INDEX IF NOT EXISTS spans_by_time ON spans (began_ns);
CREATE TABLE IF NOT EXISTS points (
  id INTEGER PRIMARY KEY, at_ns INTEGER, service TEXT, instance TEXT, name TEXT, unit TEXT, kind TEXT,
  by TEXT, value REAL, count REAL
);
CREATE INDEX IF NOT EXISTS points_by_name ON points (name, at_ns);
"""
# Methods that answer for as long as somebody listens, by the words of our contracts.
LASTING = ("/Watch", "/Meter")
# How those of contracts begin, behind "GET" or "POST" of an Envoy.
CALL = " satreel."
TRACE = "trace, began_ns, ended_ns, spans, failed, service, name"
# A file of another version is begun anew.
VERSION = 3
# What names a trace only while nothing else does.
_AFTER_ALL_NS = 2**62
# Pruned below the bound by so much, so that it is not done for every span.
SLACK = 0.9
LISTED_MAX = 100
# A client of the edge may give all that it asks one trace.
TRACE_SPANS_MAX = 1_000
MAP_SPANS_MAX = 20_000
CHART_POINTS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Span:
    """One span; `links` are ids of the traces that it points to."""

    trace: str
    span: str
    parent: str
    service: str
    name: str
    kind: str
    began_ns: int
    ended_ns: int
    failed: bool
    attributes: dict[str, object] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)

    @property
    def took_ms(self) -> float:
        """Milliseconds."""
        return (self.ended_ns - self.began_ns) / 1e6

    @property
    def is_proxy(self) -> bool:
        """Whether an Envoy tells it, at the edge or beside a part."""
        return self.attributes.get("component") == "proxy"

    @property
    def says_little(self) -> bool:
        """An Envoy's, where only the part behind it knows what is asked: of all but calls of contracts."""
        return self.is_proxy and CALL not in self.name

    @property
    def lasts(self) -> bool:
        """A stream or a WebSocket: long without being slow."""
        is_socket = self.attributes.get("http.status_code") == "101"
        return is_socket or any(one in self.name for one in LASTING)


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace in a list, called after the first of its spans that says what is done."""

    trace: str
    began_ns: int
    ended_ns: int
    spans: int
    failed: int
    service: str
    name: str

    @property
    def took_ms(self) -> float:
        """Milliseconds."""
        return (self.ended_ns - self.began_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Point:
    """A metric at a moment; a histogram's `value` is its sum."""

    at_ns: int
    service: str
    instance: str
    name: str
    unit: str
    kind: str
    by: str
    value: float
    count: float


class Store:
    """The file. Used by one thread at a time."""

    def __init__(self, file: Path, *, spans_max: int, points_max: int, bytes_max: int) -> None:
        self._spans_max, self._points_max, self._bytes_max = spans_max, points_max, bytes_max
        file.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        if self._db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            for table in ("traces", "spans", "points"):
                self._db.execute(f"DROP TABLE IF EXISTS {table}")
            self._db.execute(f"PRAGMA user_version={VERSION}")
        self._db.executescript(TABLES)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def add_spans(self, spans: Iterable[Span]) -> None:
        """Keeps them; one that is there already is left as it is."""
        with self._db:
            self._db.execute("BEGIN")
            for one in spans:
                added = self._db.execute(
                    "INSERT OR IGNORE INTO spans VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                    _row(one),
                )
                if added.rowcount:
                    self._count(one)
        self._prune("spans", self._spans_max)

    def _count(self, one: Span) -> None:
        self._db.execute(
            "INSERT INTO traces VALUES (?,?,?,1,?,?,?,?,?) ON CONFLICT (trace) DO UPDATE SET "
            "service = CASE WHEN excluded.began_ns < began_ns THEN excluded.service ELSE service END, "
            "name = CASE WHEN excluded.named_ns < named_ns THEN excluded.name ELSE name END, "
            "began_ns = min(began_ns, excluded.began_ns), ended_ns = max(ended_ns, excluded.ended_ns), "
            "named_ns = min(named_ns, excluded.named_ns), lasts = max(lasts, excluded.lasts), "
            "spans = spans + 1, failed = failed + excluded.failed",
            (
                one.trace,
                one.began_ns,
                one.ended_ns,
                one.failed,
                one.service,
                one.name,
                one.began_ns + one.says_little * _AFTER_ALL_NS,
                one.lasts,
            ),
        )

    def add_points(self, points: Iterable[Point]) -> None:
        """Keeps them."""
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT INTO points (at_ns, service, instance, name, unit, kind, by, value, count) "
                "VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    (p.at_ns, p.service, p.instance, p.name, p.unit, p.kind, p.by, p.value, p.count)
                    for p in points
                ),
            )
        self._prune("points", self._points_max)

    def _prune(self, table: str, rows_max: int) -> None:
        rows = self._rows(table)
        if rows > rows_max:
            self._drop_oldest(table, rows - int(rows_max * SLACK))
        while self._bytes() > self._bytes_max:
            for each in ("spans", "points"):
                self._drop_oldest(each, 1 + self._rows(each) // 10)
            if not self._rows("spans") and not self._rows("points"):
                return

    def _rows(self, table: str) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - ours

    def _bytes(self) -> int:
        """What is in use; pages that are free are taken again before the file grows."""
        told = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
        pages, free, page_bytes = told
        return int((pages - free) * page_bytes)

    def _drop_oldest(self, table: str, rows: int) -> None:
        if table == "points":
            newest = "SELECT max(id) FROM (SELECT id FROM points ORDER BY id LIMIT ?)"
            self._db.execute(f"DELETE FROM points WHERE id <= ({newest})", (rows,))  # noqa: S608 - ours
            return
        gone, whole = 0, []
        for trace, spans in self._db.execute("SELECT trace, spans FROM traces ORDER BY began_ns"):
            whole.append((trace,))
            gone += spans
            if gone >= rows:
                break
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany("DELETE FROM spans WHERE trace = ?", whole)
            self._db.executemany("DELETE FROM traces WHERE trace = ?", whole)

    def traces(self, show: str, service: str = "") -> list[Trace]:
        """At most LISTED_MAX: the newest, the `slow`est of those that do not last, or those that `failed`."""
        order = "ended_ns - began_ns DESC" if show == "slow" else "began_ns DESC"
        wanted = {"failed": "failed > 0", "slow": "NOT lasts"}.get(show, "1")
        found = self._db.execute(
            f"SELECT {TRACE} FROM traces WHERE {wanted} AND (? = '' OR service = ?) "  # noqa: S608 - from above
            f"ORDER BY {order} LIMIT {LISTED_MAX}",
            (service, service),
        )
        return [Trace(*row) for row in found]

    def trace(self, trace: str) -> list[Span]:
        """Its spans, oldest first, at most TRACE_SPANS_MAX."""
        return self._spans(f"WHERE trace = ? ORDER BY began_ns LIMIT {TRACE_SPANS_MAX}", trace)

    def newest_spans(self, since_ns: int) -> list[Span]:
        """At most MAP_SPANS_MAX, the newest first."""
        return self._spans(f"WHERE began_ns > ? ORDER BY began_ns DESC LIMIT {MAP_SPANS_MAX}", since_ns)

    def _spans(self, where: str, value: object) -> list[Span]:
        found = self._db.execute(f"SELECT * FROM spans {where}", (value,))  # noqa: S608 - ours
        return [_span(row) for row in found]

    def services(self) -> list[str]:
        """Those that traces begin in."""
        found = self._db.execute("SELECT DISTINCT service FROM traces ORDER BY service")
        return [str(row[0]) for row in found]

    def metrics(self) -> list[tuple[str, str, str]]:
        """Name, unit and kind of each."""
        found = self._db.execute("SELECT name, max(unit), max(kind) FROM points GROUP BY name ORDER BY name")
        return [(str(row[0]), str(row[1]), str(row[2])) for row in found]

    def points(self, name: str, since_ns: int) -> Iterator[Point]:
        """Of one metric, oldest first, at most CHART_POINTS_MAX."""
        for row in self._db.execute(
            "SELECT at_ns, service, instance, name, unit, kind, by, value, count FROM points "
            "WHERE name = ? AND at_ns > ? ORDER BY at_ns LIMIT ?",
            (name, since_ns, CHART_POINTS_MAX),
        ):
            yield Point(*row)


def _span(row: Any) -> Span:
    return Span(*(*row[:8], bool(row[8]), json.loads(row[9]), json.loads(row[10])))


def _row(one: Span) -> tuple[object, ...]:
    ids = one.trace, one.span, one.parent
    told = json.dumps(one.attributes), json.dumps(one.links)
    return (*ids, one.service, one.name, one.kind, one.began_ns, one.ended_ns, one.failed, *told)


_SIZES = ("page_count", "freelist_count", "page_size")
