"""Answers for people to read: what failed and why, and both answers side by side where the outcome changed. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import islice, zip_longest

from loraform_api.verification import Diagnostic, ProgramVerdict, StageResult
from loraform_trainer.evaluate.arms import Scored
from loraform_trainer.evaluate.html.markup import Markup, join, tag

MAX_LINES = 300
MAX_COLUMNS = 400
MAX_CHARACTERS = 8000
"""Of one answer: several times a usual one, so that no answer takes the page's room from the others."""
MAX_DIAGNOSTICS = 10
MAX_PROMPT = 4000
CUT = "… (cut here; evaluation/rows.jsonl has all of it)"

Side = tuple[int, str]
"""Line number and text."""


def failures(answers: Sequence[Scored], limit: int) -> list[Scored]:
    """Return failed answers, at most `limit`: of each kind of failure one, then a second of each, and so on."""
    kinds: dict[tuple[str, str], deque[Scored]] = defaultdict(deque)
    for scored in answers:
        if not scored.passed:
            kinds[_kind(scored)].append(scored)
    rounds = zip_longest(*kinds.values())
    return list(islice((scored for one in rounds for scored in one if scored is not None), limit))


def _kind(scored: Scored) -> tuple[str, str]:
    failed = _failed_stage(scored.raw)
    if failed is None:
        return "Truncated", ""
    return failed.stage, failed.diagnostics[0].code if failed.diagnostics else ""


def _failed_stage(verdict: ProgramVerdict | None) -> StageResult | None:
    return next((result for result in verdict.stages if not result.passed), None) if verdict else None


def failure(scored: Scored, number: int) -> Markup:
    """Return one failed answer with what the verifier said of it."""
    return tag(
        "details",
        tag("summary", tag("code", scored.row.id), f": {why(scored)}"),
        tag("p", clipped(scored.arm.instruction(scored.row)), class_="prompt"),
        diagnostics(scored),
        tag("pre", tag("code", "\n".join(lines(scored.text)) or "(empty)"), tabindex=0),
        id=f"failure-{number}",
    )


def why(scored: Scored) -> str:
    """Say in a few words how the raw answer did."""
    failed = _failed_stage(scored.raw)
    if scored.raw is None:
        return "truncated at the longest answer"
    if failed is None:
        return "passed"
    what = "could not be decided" if failed.inconclusive else "failed"
    codes = ", ".join(dict.fromkeys(d.code for d in failed.diagnostics[:3]))
    return f"{failed.stage} {what}" + (f" ({codes})" if codes else "")


def diagnostics(scored: Scored) -> Markup:
    """Return the findings of the stage that failed, as a list."""
    failed = _failed_stage(scored.raw)
    found = failed.diagnostics[:MAX_DIAGNOSTICS] if failed else []
    return tag("ul", *(tag("li", *_finding(d)) for d in found)) if found else join()


def _finding(finding: Diagnostic) -> Iterator[Markup | str]:
    yield tag("strong", finding.code)
    yield f"{'' if finding.line is None else f', line {finding.line}'}: {clipped(finding.message)}"
    if finding.hint:
        yield tag("em", f" {clipped(finding.hint)}")


def comparison(reference: Scored, candidate: Scored, kind: str, number: int) -> Markup:
    """Return both answers to a row, side by side, with the lines that differ marked."""
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


def _pairs(reference: Scored, candidate: Scored) -> Iterator[tuple[tuple[Side, bool] | None, tuple[Side, bool] | None]]:
    """Yield rows of the table: on each side a line and whether it differs, or nothing."""
    left, right = list(enumerate(lines(reference.text), 1)), list(enumerate(lines(candidate.text), 1))
    matcher = SequenceMatcher(None, [line for _, line in left], [line for _, line in right], autojunk=False)
    for operation, i, j, k, m in matcher.get_opcodes():
        changed = operation != "equal"
        for a, b in zip_longest(left[i:j], right[k:m]):
            yield (None if a is None else (a, changed)), (None if b is None else (b, changed))


def _cells(side: tuple[Side, bool] | None, kind: str, sign: str) -> tuple[Markup, Markup]:
    if side is None:
        return tag("td", class_="number"), tag("td", class_="absent")
    (number, line), changed = side
    mark = tag("span", f"{sign if changed else ' '} ", class_="sign")
    return tag("td", number, class_="number"), tag("td", mark, line, class_=kind if changed else "same")


def lines(program: str) -> list[str]:
    """Return the program's lines as they are shown: bounded in number, in length and together."""
    whole = program.replace("\r\n", "\n").removesuffix("\n")
    found = whole[:MAX_CHARACTERS].split("\n") if whole else []
    shown = [line if len(line) <= MAX_COLUMNS else line[:MAX_COLUMNS] + CUT for line in found[:MAX_LINES]]
    return shown if len(found) <= MAX_LINES and len(whole) <= MAX_CHARACTERS else [*shown, CUT]


def clipped(text: str) -> str:
    return text if len(text) <= MAX_PROMPT else text[:MAX_PROMPT] + CUT
