"""Pictures in SVG: the waterfall of a trace, the service map, a chart. Everything told is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from viewer.map import Edge, columns
from viewer.store import Span

WIDTH = 1180
ROW, LABEL = 24, 430
ROWS_MAX = 500
SERIES_MAX = 6
NODE_W, NODE_H, GAP_X_MAX, GAP_Y = 128, 34, 250, 64


def ordered(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """Depth and span: each under its parent, those that began first above."""
    ids = {one.span for one in spans}
    below: dict[str, list[Span]] = {}
    for one in sorted(spans, key=lambda each: each.began_ns):
        below.setdefault(one.parent if one.parent in ids and one.parent != one.span else "", []).append(one)
    result: list[tuple[int, Span]] = []
    seen: set[str] = set()
    waiting = [(0, one) for one in reversed(below.get("", []))]
    # Who tells of spans that stand under each other is shown them side by side.
    waiting = waiting or [(0, one) for one in reversed(spans)]
    while waiting:
        depth, one = waiting.pop()
        if one.span in seen:
            continue
        seen.add(one.span)
        result.append((depth, one))
        waiting += [(depth + 1, each) for each in reversed(below.get(one.span, []))]
    return result


def ms(value: float | None) -> str:
    """A time, short."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.1f} ms" if value >= 1 else f"{value * 1000:.0f} µs"


def waterfall(spans: Sequence[Span]) -> str:
    """A bar for each span, on one scale of time."""
    rows = ordered(spans)[:ROWS_MAX]
    began, ended = min(one.began_ns for one in spans), max(one.ended_ns for one in spans)
    scale = (WIDTH - LABEL - 90) / max(1, ended - began)
    out = [f'<svg viewBox="0 0 {WIDTH} {ROW * len(rows) + 8}" width="100%" role="img">']
    for at, (depth, one) in enumerate(rows):
        y, x = at * ROW + 4, LABEL + (one.began_ns - began) * scale
        width = max(2.0, (one.ended_ns - one.began_ns) * scale)
        indent = 10 + min(depth, 12) * 14
        kept = (LABEL - indent - 12) // 6
        label = f"{one.service} · {one.name.rpartition('.')[2] if '/' in one.name else one.name}"
        label = label if len(label) <= kept else f"{label[: kept - 1]}…"
        bad = (" bad" if one.failed else "") + (" proxy" if one.is_proxy else "")
        out.append(
            f'<g class="row"><title>{escape(f"{one.service} {one.kind} {one.name}")}</title>'
            f'<rect class="ground" x="0" y="{y - 3}" width="{WIDTH}" height="{ROW}"/>'
            f'<text x="{indent}" y="{y + 13}">{escape(label)}</text>'
            f'<rect class="bar{bad}" x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="12" rx="2"/>'
            f'<text class="quiet" x="{x + width + 6:.1f}" y="{y + 13}">{ms(one.took_ms)}</text></g>'
        )
    return "".join([*out, "</svg>"])


def picture(found: Sequence[Edge]) -> str:
    """Boxes from left to right, and lines as thick as calls are many."""
    rows = columns(found)
    gap_x = min(GAP_X_MAX, (WIDTH - NODE_W - 80) // max(1, len(rows) - 1))
    placed = {
        name: (20 + x * gap_x, 20 + y * GAP_Y)
        for x, column in enumerate(rows)
        for y, name in enumerate(column)
    }
    wide = max(x for x, _ in placed.values()) + NODE_W + 60
    high = max(y for _, y in placed.values()) + NODE_H + 20
    out = [f'<svg viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img">']
    busiest = max(edge.calls for edge in found)
    for edge in found:
        (x0, y0), (x1, y1) = placed[edge.caller], placed[edge.callee]
        # To the right, or along the right side of a column.
        bend = 70 if x1 > x0 else 40
        x0, y0, y1 = x0 + NODE_W, y0 + NODE_H // 2, y1 + NODE_H // 2
        x1, side = (x1, -bend) if x1 > x0 else (x1 + NODE_W, bend)
        told = f"{edge.caller} → {edge.callee}: {edge.calls} calls, {edge.failed} failed"
        out.append(
            f'<path class="edge{" bad" if edge.failed else ""}" '
            f'd="M{x0} {y0} C{x0 + bend} {y0} {x1 + side} {y1} {x1} {y1}" '
            f'stroke-width="{1 + 4 * edge.calls / busiest:.1f}">'
            f"<title>{escape(told)}</title></path>"
        )
    for name, (x, y) in placed.items():
        short = name if len(name) <= 17 else f"{name[:16]}…"
        out.append(
            f'<rect class="node" x="{x}" y="{y}" width="{NODE_W}" height="{NODE_H}" rx="7"/>'
            f'<text x="{x + NODE_W // 2}" y="{y + 21}" text-anchor="middle">{escape(short)}</text>'
        )
    return "".join([*out, "</svg>"])


def number(value: float) -> str:
    """Short, for axes and tables."""
    size = abs(value)
    if size >= 1e9:
        return f"{value / 1e9:.1f} G"
    if size >= 1e6:
        return f"{value / 1e6:.1f} M"
    if size >= 1e4:
        return f"{value / 1e3:.1f} k"
    return f"{value:.4g}"


def chart(series: Mapping[str, Sequence[tuple[int, float]]], *, height: int = 190) -> str:
    """Lines over time, the first SERIES_MAX."""
    shown = [points for points in series.values() if points][:SERIES_MAX]
    if not shown:
        return '<p class="quiet">nothing yet</p>'
    times = [at for points in shown for at, _ in points]
    values = [value for points in shown for _, value in points]
    low = min(0.0, *values)
    top = max(0.0, *values) or (1.0 if low == 0 else 0.0)
    first, last = min(times), max(times)
    left, right, floor = 70, WIDTH - 20, height - 40
    across, up = (right - left) / max(1, last - first), (floor - 20) / (top - low)
    out = [
        f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" role="img">',
        f'<path class="line" d="M{left} {floor} H{right} M{left} 20 H{right}"/>',
        f'<text class="quiet" x="{left - 10}" y="24" text-anchor="end">{number(top)}</text>',
        f'<text class="quiet" x="{left - 10}" y="{floor + 4}" text-anchor="end">{number(low)}</text>',
    ]
    if low < 0 < top:
        out.append(f'<path class="line" d="M{left} {floor + low * up:.1f} H{right}"/>')
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at_ns = int(first + (last - first) * part)
        x = left + (right - left) * part
        out.append(
            f'<text class="quiet" x="{x:.0f}" y="{height - 16}" text-anchor="{anchor}">{clock(at_ns)}</text>'
        )
    for at, points in enumerate(shown):
        places = [(left + (t - first) * across, floor - (value - low) * up) for t, value in points]
        out.append(f'<path class="area c{at}" d="{_line(places)}"/>')
    return "".join([*out, "</svg>"])


def clock(at_ns: int) -> str:
    """Hours, minutes and seconds of the day, UTC."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%H:%M:%S")


def _line(places: Iterable[tuple[float, float]]) -> str:
    found = [f"{x:.1f} {y:.1f}" for x, y in places]
    return f"M{found[0]} L{' '.join(found[1:] or found)}"
