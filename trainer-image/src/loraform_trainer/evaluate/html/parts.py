"""Parts of the page's sections: headings, cells with bars, tables of rates. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loraform_api.evaluation import Rate
from loraform_api.statistics import wilson
from loraform_trainer.evaluate.html import charts
from loraform_trainer.evaluate.html.markup import Markup, Part, join, tag


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page, listed in its table of contents."""

    id: str
    title: str
    body: Markup


def section(id_: str, title: str, *children: Part) -> Section:
    """Return a section; `id_` is its anchor."""
    return Section(id_, title, join(*children))


def counted(passed: int, rows: int) -> Markup:
    """Return the cell of a share of rows with its Wilson interval."""
    low, high = wilson(passed, rows)
    rate = Rate(passed=passed, rows=rows, rate=passed / rows if rows else 0.0, low=low, high=high)
    return cell(rate.rate, rate.low, rate.high, "served", rate)


def rate_table(
    caption: str, row_heading: str, arms: Sequence[str], rows: Iterable[tuple[str, Sequence[Rate]]], kind: str = ""
) -> Markup:
    """Return a table of rates with a row for each of `rows` and a column for each of `arms`."""
    body = (tag("tr", side(name), *(cell(r.rate, r.low, r.high, kind, r) for r in rates)) for name, rates in rows)
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", head(row_heading), *(head(arm) for arm in arms))),
        tag("tbody", *body),
    )
    return tag("div", table, class_="wide", tabindex=0, role="region", aria_label=caption)


def cell(rate: float, low: float, high: float, kind: str = "", rows: Rate | None = None) -> Markup:
    """Return the cell of a rate from 0 to 1, with the counts of `rows` if given."""
    fraction = f" ({rows.passed}/{rows.rows})" if rows else ""
    return tag(
        "td",
        charts.bar(rate, low, high, kind),
        tag("span", f"{rate * 100:.1f} %{fraction}", class_="value"),
        tag("span", f"{low * 100:.1f} to {high * 100:.1f}", class_="interval"),
    )


def head(heading: str) -> Markup:
    """Return a column's heading."""
    return tag("th", heading, scope="col")


def side(heading: str) -> Markup:
    """Return a row's heading."""
    return tag("th", heading, scope="row")
