"""Inline SVG charts: a rate and a difference with their intervals, and curves. Pure.

Each chart has a description as `aria-label`. Colours are CSS classes of the page, for the light and the dark theme.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from loraform_trainer.evaluate.html.markup import Markup, tag

WIDTH, HEIGHT = 120, 16
CURVE_WIDTH, CURVE_HEIGHT, MARGIN = 640, 220, 44
MAX_POINTS = 400
KINDS = ("curve", "curve second")

Points = Sequence[tuple[int, float]]
"""Values by step."""


def bar(rate: float, low: float, high: float, kind: str = "") -> Markup:
    """Return a bar of a rate from 0 to 1, with a whisker for its interval."""
    middle = HEIGHT / 2
    return _svg(
        f"{rate * 100:.1f} %, interval {low * 100:.1f} to {high * 100:.1f} %",
        WIDTH,
        HEIGHT,
        tag("rect", class_="track", x=0, y=2, width=WIDTH, height=HEIGHT - 4),
        tag("rect", class_=f"bar {kind}".strip(), x=0, y=2, width=_n(rate * WIDTH), height=HEIGHT - 4),
        *_whisker(_inside(low), _inside(high), middle),
    )


def difference(value: float, low: float, high: float) -> Markup:
    """Return an axis around 0 that covers the interval, with a point for the value and a whisker."""
    width, height = 360, 44
    limit = min(1.0, max(0.05, abs(low), abs(high)) * 1.15)

    def position(x: float) -> float:
        return (x / limit + 1) / 2 * width

    return _svg(
        f"difference {value * 100:+.1f} points, interval {low * 100:+.1f} to {high * 100:+.1f}",
        width,
        height,
        tag("line", class_="axis", x1=0, x2=width, y1=14, y2=14),
        tag("line", class_="axis zero", x1=_n(position(0)), x2=_n(position(0)), y1=2, y2=26),
        *_whisker(position(low), position(high), 14),
        tag("circle", class_="point", cx=_n(position(value)), cy=14, r=5),
        tag("text", "0", x=_n(position(0)), y=40, text_anchor="middle"),
        tag("text", f"{-limit * 100:+.0f} points", x=0, y=40),
        tag("text", f"{limit * 100:+.0f} points", x=width, y=40, text_anchor="end"),
    )


def curves(lines: Mapping[str, Points]) -> Markup:
    """Return one or two lines of values by step, thinned to about `MAX_POINTS`; the last point is kept."""
    shown = {name: [*points[: -1 : -(-len(points) // MAX_POINTS)], points[-1]] for name, points in lines.items()}
    steps, values = zip(*chain(*shown.values()), strict=True)
    first, last, top = min(steps), max(steps), max(values) or 1.0
    bottom, width = CURVE_HEIGHT - MARGIN / 2, CURVE_WIDTH - MARGIN - 8

    def position(step: int, value: float) -> tuple[str, str]:
        x = MARGIN + (step - first) / max(last - first, 1) * width
        return _n(x), _n(bottom - value / top * (bottom - 12))

    drawn = [_line([position(*point) for point in shown[name]], kind) for name, kind in zip(shown, KINDS, strict=False)]
    end = [tag("text", f"step {last}", x=CURVE_WIDTH, y=CURVE_HEIGHT - 4, text_anchor="end")] if last > first else []
    return _svg(
        "; ".join(f"{name} {_describe(points)}" for name, points in shown.items()),
        CURVE_WIDTH,
        CURVE_HEIGHT,
        tag("line", class_="axis", x1=MARGIN, x2=MARGIN, y1=8, y2=_n(bottom)),
        tag("line", class_="axis", x1=MARGIN, x2=CURVE_WIDTH, y1=_n(bottom), y2=_n(bottom)),
        tag("text", f"{top:.3g}", x=MARGIN - 4, y=16, text_anchor="end"),
        tag("text", "0", x=MARGIN - 4, y=_n(bottom), text_anchor="end"),
        tag("text", f"step {first}", x=MARGIN, y=CURVE_HEIGHT - 4),
        *end,
        *drawn,
        *(_legend(shown) if len(shown) > 1 else ()),
    )


def _describe(points: Points) -> str:
    (first, begin), (last, end) = points[0], points[-1]
    start = f"from {begin:.3g} at step {first} to " if last > first else ""
    return f"{start}{end:.3g} at step {last}"


def _line(positions: Sequence[tuple[str, str]], kind: str) -> Markup:
    """Return a line through the positions, or a circle for a single one, as a line of one point is invisible."""
    if len(positions) == 1:
        return tag("circle", class_="point", cx=positions[0][0], cy=positions[0][1], r=4)
    return tag("polyline", class_=kind, points=" ".join(map(",".join, positions)))


def _legend(names: Iterable[str]) -> Iterator[Markup]:
    """Yield the legend of the lines, below the chart between the first and the last step."""
    for x, kind, name in zip((220, 360), KINDS, names, strict=True):
        yield tag("line", class_=kind, x1=x, x2=x + 24, y1=CURVE_HEIGHT - 8, y2=CURVE_HEIGHT - 8)
        yield tag("text", name, x=x + 30, y=CURVE_HEIGHT - 4)


def _whisker(low: float, high: float, middle: float) -> tuple[Markup, ...]:
    return (
        tag("line", class_="whisker", x1=_n(low), x2=_n(high), y1=_n(middle), y2=_n(middle)),
        *(tag("line", class_="whisker", x1=_n(x), x2=_n(x), y1=_n(middle - 4), y2=_n(middle + 4)) for x in (low, high)),
    )


def _inside(share: float) -> float:
    """Return the position of a share, at least 1 from the edges so that the whisker's stroke is visible."""
    return min(max(share * WIDTH, 1.0), WIDTH - 1.0)


def _svg(label: str, width: int, height: int, *children: Markup) -> Markup:
    box = f"0 0 {width} {height}"
    return tag("svg", *children, role="img", aria_label=label, width=width, height=height, viewBox=box)


def _n(value: float) -> str:
    return f"{value:.1f}"
