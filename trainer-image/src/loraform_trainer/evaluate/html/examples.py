"""Example answers: failed answers with their diagnostics, and side-by-side comparisons of changed outcomes. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice, zip_longest

from loraform_api.verification import Diagnostic, ProgramVerdict, StageResult
from loraform_trainer.evaluate.arms import ScoredAnswer
from loraform_trainer.evaluate.html.markup import Markup, join, tag

MAX_LINES = 300
MAX_COLUMNS = 400
MAX_CHARACTERS = 8000
"""Maximum characters of one answer: several times a usual one, so that none fills the page alone."""
MAX_DIAGNOSTICS = 10
MAX_PROMPT = 4000
CUT = "… (cut here; the full text is in evaluation/rows.jsonl)"

Line = tuple[int, str]
"""Line number and text."""
Cell = tuple[Line, bool] | None
"""A line and whether it differs from the other answer; None for an absent line."""


def failures(answers: Sequence[ScoredAnswer], limit: int) -> list[ScoredAnswer]:
    """Return at most `limit` failed answers: one of each kind of failure, then a second of each, and so on."""
    kinds: dict[tuple[str, str], deque[ScoredAnswer]] = defaultdict(deque)
    for scored in answers:
        if not scored.passed:
            kinds[_kind(scored)].append(scored)
    rounds = zip_longest(*kinds.values())
    return list(islice((scored for round_ in rounds for scored in round_ if scored is not None), limit))


def _kind(scored: ScoredAnswer) -> tuple[str, str]:
    failed = _failed_stage(scored.raw)
    if failed is None:
        return "Truncated", ""
    return failed.stage, failed.diagnostics[0].code if failed.diagnostics else ""


def _failed_stage(verdict: ProgramVerdict | None) -> StageResult | None:
    return next((result for result in verdict.stages if not result.passed), None) if verdict else None


def failure(scored: ScoredAnswer, number: int) -> Markup:
    """Return one failed answer with its diagnostics."""
    return tag(
        "details",
        tag("summary", tag("code", scored.row.id), f": {why(scored)}"),
        tag("p", clipped(scored.arm.instruction(scored.row)), class_="prompt"),
        diagnostics(scored),
        tag("pre", tag("code", "\n".join(lines(scored.text)) or "(empty)"), tabindex=0),
        id=f"failure-{number}",
    )


def why(scored: ScoredAnswer) -> str:
    """Return the outcome of the raw answer: passed, truncated, or the failed stage with its codes."""
    failed = _failed_stage(scored.raw)
    if scored.raw is None:
        return "truncated at the maximum length"
    if failed is None:
        return "passed"
    outcome = "inconclusive" if failed.inconclusive else "failed"
    codes = ", ".join(dict.fromkeys(d.code for d in failed.diagnostics[:3]))
    return f"{failed.stage} {outcome}" + (f" ({codes})" if codes else "")


def diagnostics(scored: ScoredAnswer) -> Markup:
    """Return the diagnostics of the failed stage as a list."""
    failed = _failed_stage(scored.raw)
    shown = failed.diagnostics[:MAX_DIAGNOSTICS] if failed else []
    return tag("ul", *(tag("li", *_diagnostic(d)) for d in shown)) if shown else join()


def _diagnostic(diagnostic: Diagnostic) -> Iterator[Markup | str]:
    yield tag("strong", diagnostic.code)
    yield f"{'' if diagnostic.line is None else f', line {diagnostic.line}'}: {clipped(diagnostic.message)}"
    if diagnostic.hint:
        yield tag("em", f" {clipped(diagnostic.hint)}")


def comparison(reference: ScoredAnswer, candidate: ScoredAnswer, kind: str, number: int) -> Markup:
    """Return both answers to a row side by side, with differing lines marked."""
    sides = (reference, candidate)
    head = tag("tr", *(tag("th", f"{s.arm.name}: {why(s)}", scope="colgroup", colspan=2) for s in sides))
    body = (tag("tr", *_cells(left, "removed", "-"), *_cells(right, "added", "+")) for left, right in _pairs(*sides))
    return tag(
        "details",
        tag("summary", tag("code", candidate.row.id), f": {why(reference)} → {why(candidate)}"),
        tag("p", clipped(candidate.arm.instruction(candidate.row)), class_="prompt"),
        tag(
            "div",
            tag(
                "table",
                tag("caption", f"Answers to {candidate.row.id}, line by line"),
                *(tag("colgroup", span=1, class_=class_) for class_ in ("number", "line", "number", "line")),
                tag("thead", head),
                tag("tbody", *body),
                class_="diff",
            ),
            class_="wide", tabindex=0, role="region", aria_label=f"Answers to {candidate.row.id}",
        ),
        diagnostics(reference if candidate.passed else candidate),
        id=f"{kind}-{number}",
    )  # fmt: skip


def _pairs(reference: ScoredAnswer, candidate: ScoredAnswer) -> Iterator[tuple[Cell, Cell]]:
    """Yield the rows of the comparison table: the left and the right cell."""
    left, right = list(enumerate(lines(reference.text), 1)), list(enumerate(lines(candidate.text), 1))
    matcher = SequenceMatcher(None, [line for _, line in left], [line for _, line in right], autojunk=False)
    for operation, i, j, k, m in matcher.get_opcodes():
        changed = operation != "equal"
        for a, b in zip_longest(left[i:j], right[k:m]):
            yield (None if a is None else (a, changed)), (None if b is None else (b, changed))


def _cells(cell: Cell, kind: str, sign: str) -> tuple[Markup, Markup]:
    if cell is None:
        return tag("td", class_="number"), tag("td", class_="absent")
    (number, line), changed = cell
    mark = tag("span", f"{sign if changed else ' '} ", class_="sign")
    return tag("td", number, class_="number"), tag("td", mark, line, class_=kind if changed else "same")


def lines(program: str) -> list[str]:
    """Return the program's lines for display; their number, length and sum are bounded."""
    text = program.replace("\r\n", "\n").removesuffix("\n")
    all_lines = text[:MAX_CHARACTERS].split("\n") if text else []
    shown = [line if len(line) <= MAX_COLUMNS else line[:MAX_COLUMNS] + CUT for line in all_lines[:MAX_LINES]]
    return shown if len(all_lines) <= MAX_LINES and len(text) <= MAX_CHARACTERS else [*shown, CUT]


def clipped(text: str) -> str:
    """Return at most `MAX_PROMPT` characters of a text."""
    return text if len(text) <= MAX_PROMPT else text[:MAX_PROMPT] + CUT
