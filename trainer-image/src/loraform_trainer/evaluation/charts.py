"""Inline SVG: a rate with its interval, a difference with its interval, a curve. Pure.

Each picture has its words as `aria-label`; colours are classes of the page's style, for both themes.
"""

from __future__ import annotations

from collections.abc import Sequence

from loraform_trainer.evaluation.markup import Markup, tag

WIDTH, HEIGHT = 120, 16
CURVE_WIDTH, CURVE_HEIGHT, MARGIN = 640, 220, 44
MAX_POINTS = 400


def bar(rate: float, low: float, high: float, kind: str = "") -> Markup:
    """Return a bar from 0 to 1 with a whisker."""
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
    """Return a line around 0, wide enough for the interval, with a point and its whisker."""
    width, height = 360, 44
    reach = min(1.0, max(0.05, abs(low), abs(high)) * 1.15)

    def at(x: float) -> float:
        return (x / reach + 1) / 2 * width

    return _svg(
        f"difference {value * 100:+.1f} points, interval {low * 100:+.1f} to {high * 100:+.1f}",
        width,
        height,
        tag("line", class_="axis", x1=0, x2=width, y1=14, y2=14),
        tag("line", class_="axis zero", x1=_n(at(0)), x2=_n(at(0)), y1=2, y2=26),
        *_whisker(at(low), at(high), 14),
        tag("circle", class_="point", cx=_n(at(value)), cy=14, r=5),
        tag("text", "0", x=_n(at(0)), y=40, text_anchor="middle"),
        tag("text", f"{-reach * 100:+.0f} points", x=0, y=40),
        tag("text", f"{reach * 100:+.0f} points", x=width, y=40, text_anchor="end"),
    )


def curve(points: Sequence[tuple[int, float]], what: str) -> Markup:
    """Return values by step; more than `MAX_POINTS` are thinned out, the last one stays."""
    shown = [*points[: -1 : max(1, -(-len(points) // MAX_POINTS))], points[-1]]
    first, last = shown[0][0], max(shown[-1][0], shown[0][0] + 1)
    top = max(value for _, value in shown) or 1.0
    bottom = CURVE_HEIGHT - MARGIN / 2

    def place(step: int, value: float) -> tuple[str, str]:
        x = MARGIN + (step - first) / (last - first) * (CURVE_WIDTH - MARGIN - 8)
        return _n(x), _n(bottom - value / top * (bottom - 12))

    line = " ".join(",".join(place(step, value)) for step, value in shown)
    return _svg(
        f"{what} from {shown[0][1]:.3g} at step {shown[0][0]} to {shown[-1][1]:.3g} at step {shown[-1][0]}",
        CURVE_WIDTH,
        CURVE_HEIGHT,
        tag("line", class_="axis", x1=MARGIN, x2=MARGIN, y1=8, y2=_n(bottom)),
        tag("line", class_="axis", x1=MARGIN, x2=CURVE_WIDTH, y1=_n(bottom), y2=_n(bottom)),
        tag("text", f"{top:.3g}", x=MARGIN - 4, y=16, text_anchor="end"),
        tag("text", "0", x=MARGIN - 4, y=_n(bottom), text_anchor="end"),
        tag("text", f"step {first}", x=MARGIN, y=CURVE_HEIGHT - 4),
        tag("text", f"step {last}", x=CURVE_WIDTH, y=CURVE_HEIGHT - 4, text_anchor="end"),
        tag("polyline", class_="curve", points=line),
    )


def _whisker(low: float, high: float, middle: float) -> tuple[Markup, ...]:
    return (
        tag("line", class_="whisker", x1=_n(low), x2=_n(high), y1=_n(middle), y2=_n(middle)),
        *(tag("line", class_="whisker", x1=_n(x), x2=_n(x), y1=_n(middle - 4), y2=_n(middle + 4)) for x in (low, high)),
    )


def _inside(share: float) -> float:
    """Return the place of a share where the whisker's stroke is still in the picture."""
    return min(max(share * WIDTH, 1.0), WIDTH - 1.0)


def _svg(label: str, width: int, height: int, *children: Markup) -> Markup:
    box = f"0 0 {width} {height}"
    return tag("svg", *children, role="img", aria_label=label, width=width, height=height, viewBox=box)


def _n(value: float) -> str:
    return f"{value:.1f}"
