"""What the page's sections are made of: headings, cells with bars, tables of rates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loraform_api.evaluation import Rate
from loraform_api.statistics import wilson
from loraform_trainer.evaluate.html import charts
from loraform_trainer.evaluate.html.markup import Markup, Part, join, tag


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that its contents name."""

    id: str
    title: str
    body: Markup


def section(id_: str, title: str, *children: Part) -> Section:
    """Return a section; `id_` is its place in the page's contents."""
    return Section(id_, title, join(*children))


def counted(passed: int, rows: int) -> Markup:
    """Return the cell of a share of rows, with its interval."""
    low, high = wilson(passed, rows)
    found = Rate(passed=passed, rows=rows, rate=passed / rows if rows else 0.0, low=low, high=high)
    return cell(found.rate, found.low, found.high, "served", found)


def rate_table(
    caption: str, what: str, arms: Sequence[str], rows: Iterable[tuple[str, Sequence[Rate]]], kind: str = ""
) -> Markup:
    """Return a table of rates: a line for each of `rows`, a column for each of `arms`."""
    body = (tag("tr", side(name), *(cell(r.rate, r.low, r.high, kind, r) for r in rates)) for name, rates in rows)
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", head(what), *(head(arm) for arm in arms))),
        tag("tbody", *body),
    )
    return tag("div", table, class_="wide", tabindex=0, role="region", aria_label=caption)


def cell(rate: float, low: float, high: float, kind: str = "", rows: Rate | None = None) -> Markup:
    """Return the cell of a rate from 0 to 1, and of its counts where `rows` has them."""
    fraction = f" ({rows.passed}/{rows.rows})" if rows else ""
    return tag(
        "td",
        charts.bar(rate, low, high, kind),
        tag("span", f"{rate * 100:.1f} %{fraction}", class_="value"),
        tag("span", f"{low * 100:.1f} to {high * 100:.1f}", class_="interval"),
    )


def head(words: str) -> Markup:
    """Return a column's heading."""
    return tag("th", words, scope="col")


def side(words: str) -> Markup:
    """Return a line's heading."""
    return tag("th", words, scope="row")
