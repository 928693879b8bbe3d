"""`reports/evaluation.html`: one page that loads nothing, runs nothing and is of bounded size. Pure.

Answers of models are hostile: every text passes `markup`, and the page forbids scripts and loads by its own policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import accumulate
from string import Template

from loraform_api.evaluation import (
    ArmFigures,
    EvaluationGroup,
    EvaluationReport,
    PairedFigures,
    StageFigures,
)
from loraform_api.finetunejob_status import ArmName, Gain, Reflexion
from loraform_api.meta import PromptTemplate
from loraform_api.statistics import Pairs, lower_bound
from loraform_trainer.evaluate import figures
from loraform_trainer.evaluate.arms import Scored
from loraform_trainer.evaluate.breakdown import ByArm
from loraform_trainer.evaluate.html import charts, examples, training
from loraform_trainer.evaluate.html.markup import Markup, join, number_of, tag, text
from loraform_trainer.evaluate.html.parts import Section, cell, counted, head, rate_table, section, side

MAX_BYTES = 2_000_000
FRAME_BYTES = 20_000
"""What of that goes to the template, the contents and the sections' own words."""
MAX_EXAMPLES = 20
"""Of each: rows lost, rows gained, rows that failed."""


def render(report: EvaluationReport, by_arm: ByArm) -> str:
    """Return the page, at most `MAX_BYTES` long; `by_arm` has the greedy answers."""
    template = Template(resources.files("loraform_trainer.evaluate.html").joinpath("page.html").read_text("utf-8"))
    words = {
        "title": text(f"Evaluation of {report.namespace}/{report.name}"),
        "suites": text(_suites(report)),
        "verdict": text(report.verdict),
        "kind": _kind(report),
    }
    sections = _figures(report)
    budget = (MAX_BYTES - FRAME_BYTES - sum(len(s.body.encode()) for s in sections)) // 3
    sections += _examples(report.paired.reference, by_arm, budget)
    links = (tag("li", tag("a", s.title, href=f"#{s.id}")) for s in sections)
    body = join(*(tag("section", tag("h2", s.title, id=s.id), s.body, aria_labelledby=s.id) for s in sections))
    return template.substitute(words, contents=tag("nav", tag("ul", *links), aria_label="Contents"), sections=body)


def _figures(report: EvaluationReport) -> list[Section]:
    """Return what there is to show of the report, in its order."""
    made = [_rates(report), _paired(report.paired)]
    if any(arm.pass_at_k for arm in report.arms):
        made.append(_pass_at_k(report))
    if report.reflexion is not None:
        made.append(_reflexion(report.reflexion))
    if len(report.by_suite) > 1:
        made.append(_grouped("suites", "By suite", report.by_suite, report, ""))
    if report.by_difficulty:
        made.append(_grouped("difficulty", "By difficulty", report.by_difficulty, report, ""))
    if report.by_type:
        left = report.types_left_out
        rest = f" Not listed: {number_of(left, 'type')} with fewer rows." if left else ""
        words = f"A row counts in each resource type that it asks for.{rest}"
        made.append(_grouped("types", "By resource type", report.by_type, report, words))
    if report.selection:
        made.append(training.chosen(report.selection, report.loss))
    if any(point.loss is not None for point in report.loss):
        made.append(training.loss(report.loss))
    if report.forgetting is not None:
        made.append(training.forgetting(report.forgetting))
    return [*made, _made_with(report)]


def _suites(report: EvaluationReport) -> str:
    names = [group.name for group in report.by_suite]
    return f"{number_of(report.rows, 'row')} of suite{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _kind(report: EvaluationReport) -> str:
    paired = report.paired
    if figures.is_live(report.arms):
        return "same"
    return "good" if paired.low > 0 else "bad" if paired.high < 0 else "open"


def _rates(report: EvaluationReport) -> Section:
    names = [arm.name.value for arm in report.arms]
    stages = [figures_.stage for figures_ in report.arms[0].stages]
    raw = [(stage, [_stage(arm, stage).raw for arm in report.arms]) for stage in stages]
    tables = [rate_table("As the model wrote it (raw)", "Stage", names, raw)]
    if report.house_policy:
        served = [(stage, [_stage(arm, stage).served for arm in report.arms]) for stage in stages]
        words = "As it would be served, after the house-policy rewrite"
        tables.append(rate_table(words, "Stage", names, served, "served"))
    apart = [
        ("Truncated", [arm.truncated for arm in report.arms]),
        ("Inconclusive", [arm.inconclusive for arm in report.arms]),
        ("Hallucinated", [arm.hallucinated for arm in report.arms]),
    ]
    return section(
        "rates",
        "Rates by arm and stage",
        tag("p", "Share of the rows that ask for the stage; a stage that was not reached is not passed. "
            "Whiskers: 95 % (Wilson; rows of one cluster that agree count as one)."
            + ("" if report.house_policy else " No house policy is in force: what the model wrote is served.")),
        tag("div", *tables, class_="beside"),
        rate_table("Shown apart; none of these rows passed", "What", names, apart, "apart"),
        tag("p", "Truncated: the answer reached its longest length. Inconclusive: a stage could not decide. "
            "Hallucinated: a type, block or argument that the provider does not have. Different answers: "
            + ", ".join(f"{arm.name} {arm.distinct_answers}" for arm in report.arms) + "."),
        *(tag("p", f"{arm.name} was asked in the base model's own chat template, the others as in training.")
          for arm in report.arms if arm.prompt_template is PromptTemplate.CHAT),
    )  # fmt: skip


def _stage(arm: ArmFigures, stage: str) -> StageFigures:
    return next(f for f in arm.stages if f.stage == stage)


def _paired(paired: PairedFigures) -> Section:
    reference = paired.reference.value
    table = tag(
        "table",
        tag("caption", f"Rows by outcome, candidate against {reference}, raw, all stages"),
        tag("thead", tag("tr", tag("td"), head(f"{reference} passed"), head(f"{reference} failed"))),
        tag(
            "tbody",
            tag("tr", side("Candidate passed"), tag("td", paired.both_passed), tag("td", f"{paired.gained} gained")),
            tag("tr", side("Candidate failed"), tag("td", f"{paired.lost} lost"), tag("td", paired.neither_passed)),
        ),
    )
    return section(
        "paired",
        "The comparison that promotion reads",
        table,
        tag("p", charts.difference(paired.difference, paired.low, paired.high)),
        tag("p", f"Tango's interval, each bound one-sided 95 %.{_together(paired.design_effect)} With as many rows "
            f"lost, {_enough(paired)} would have counted. Whether the candidate goes live is for its IaCModel to "
            "decide, which also asks for minimums and for enough rows."),
    )  # fmt: skip


def _together(effect: float) -> str:
    if effect <= 1:
        return ""
    return f" Rows of one cluster change together, which makes its variance {effect:.3g} times as large."


def _enough(paired: PairedFigures) -> str:
    rows = paired.both_passed + paired.gained + paired.lost + paired.neither_passed
    if lower_bound(Pairs(rows, rows - paired.lost, paired.lost, paired.design_effect)) <= 0:
        return "no net gain"  # not even of all other rows
    points = paired.smallest_visible_difference * 100
    return f"a net gain of {points:.{2 if points < 1 else 1}f} points"


def _pass_at_k(report: EvaluationReport) -> Section:
    drawn = [arm for arm in report.arms if arm.pass_at_k]
    ks = [estimate.k for estimate in drawn[0].pass_at_k]
    first = drawn[0].pass_at_k[0]
    rows = [
        tag(
            "tr",
            side(f"pass@{k}"),
            *(cell(e.rate, e.low, e.high) for arm in drawn for e in arm.pass_at_k if e.k == k),
        )
        for k in ks
    ]
    table = tag(
        "table",
        tag("caption", "Chance that one of k drawn answers passes every stage"),
        tag("thead", tag("tr", head("k"), *(head(arm.name.value) for arm in drawn))),
        tag("tbody", *rows),
    )
    return section(
        "passk",
        "More than one answer",
        tag("p", f"{number_of(report.samples_per_prompt, 'answer')} drawn for each of "
            f"{number_of(first.prompts, 'prompt')} at temperature {report.temperature}. Whiskers: 95 %, over "
            f"{number_of(first.clusters, 'cluster')} (Wilson). It decides nothing."),
        table,
    )  # fmt: skip


def _reflexion(found: Reflexion) -> Section:
    last, drawn, over = found.rounds[-1], found.best_of_n, found.over_best_of_n
    asked, spent = accumulate(r.repaired for r in found.rounds), accumulate(r.tokens for r in found.rounds)
    ways = [
        (f"After {number_of(r.round, 'repair')}", r.passed, f"{answers} asked", tokens)
        for r, answers, tokens in zip(found.rounds, asked, spent, strict=True)
    ]
    ways.append(("Best of n", drawn.passed, f"{drawn.answers} drawn", drawn.tokens))
    rows = [
        tag("tr", side(name), counted(passed, found.rows), tag("td", answers), tag("td", tokens))
        for name, passed, answers, tokens in ways
    ]
    heads = ("What is served", "Rows that pass every stage", "More answers, in all", "Their tokens, prompts included")
    table = tag(
        "table",
        tag("caption", "The candidate with repairs, and with drawn answers for as many tokens"),
        tag("thead", tag("tr", *map(head, heads))),
        tag("tbody", *rows),
    )
    return section(
        "reflexion",
        "Repairs",
        table,
        tag("p", f"After {number_of(last.round, 'repair')} {_gain(found.gain)} against the first answers, "
            f"{_gain(over)} against best of n. Neither saw what Intent asks, and it decides nothing."),
    )  # fmt: skip


def _gain(found: Gain) -> str:
    low, high = float(found.low) * 100, float(found.high) * 100
    return f"{number_of(found.gained, 'row')} gained and {found.lost} lost ({low:+.1f} to {high:+.1f} points)"


def _grouped(id_: str, title: str, groups: Sequence[EvaluationGroup], report: EvaluationReport, words: str) -> Section:
    arms = [arm.name for arm in report.arms]
    rows = [(f"{g.name} ({number_of(g.rates[arms[0]].rows, 'row')})", [g.rates[arm] for arm in arms]) for g in groups]
    table = rate_table("Raw, all stages", title, [arm.value for arm in arms], rows)
    return section(id_, title, tag("p", words) if words else join(), table)


def _made_with(report: EvaluationReport) -> Section:
    facts = [
        ("Run", f"{report.namespace}/{report.name}, uid {report.uid}"),
        ("Judged by", report.toolchain),
        ("Largest difference of a log-probability, trainer to engine", report.parity_max_difference),
        *((f"Adapter of {arm.name}", arm.adapter_digest) for arm in report.arms if arm.adapter_digest),
    ]
    return section("made", "Made with", tag("dl", *(join(tag("dt", name), tag("dd", fact)) for name, fact in facts)))


def _examples(reference: ArmName, by_arm: ByArm, budget: int) -> list[Section]:
    """Return rows lost, rows gained and failed rows; each list may have `budget` bytes."""
    lost, gained = figures.lost(by_arm, reference), figures.gained(by_arm, reference)
    failed = [s for s in by_arm[ArmName.CANDIDATE] if not s.passed]
    shown = enumerate(examples.failures(failed, MAX_EXAMPLES), 1)
    made = {
        "lost": (f"Rows lost against {reference}", len(lost), _compared(lost, "lost")),
        "gained": (f"Rows gained against {reference}", len(gained), _compared(gained, "gained")),
        "failed": ("Rows that the candidate failed", len(failed), (examples.failure(s, i) for i, s in shown)),
    }  # fmt: skip
    return [_listed(id_, title, count, parts, budget) for id_, (title, count, parts) in made.items()]


def _compared(pairs: Sequence[tuple[Scored, Scored]], kind: str) -> Iterable[Markup]:
    return (examples.comparison(r, c, kind, i) for i, (r, c) in enumerate(pairs[:MAX_EXAMPLES], 1))


def _listed(id_: str, title: str, count: int, parts: Iterable[Markup], budget: int) -> Section:
    """Return a section with as many examples as fit into `budget` bytes."""
    shown: list[Markup] = []
    left = budget
    for part in parts:
        size = len(part.encode())
        if size > left:
            break
        left -= size
        shown.append(part)
    rest = count - len(shown)
    words = (
        tag("p", "None." if not count else f"{rest} more in evaluation/rows.jsonl.") if rest or not count else join()
    )
    return section(id_, f"{title}: {count}", *shown, words)
