"""Renders `reports/evaluation.html`: one page of bounded size, without scripts and external resources. Pure.

Models' answers are untrusted: `markup` escapes every text, and the page's Content-Security-Policy forbids scripts and
loading.
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
from loraform_api.finetunejob_status import ArmName
from loraform_api.meta import PromptTemplate
from loraform_api.reflexion import Gain, Reflexion
from loraform_api.statistics import Pairs, lower_bound
from loraform_trainer.evaluate import figures
from loraform_trainer.evaluate.arms import ScoredAnswer
from loraform_trainer.evaluate.breakdown import ByArm
from loraform_trainer.evaluate.html import charts, examples, training
from loraform_trainer.evaluate.html.markup import Markup, join, number_of, tag, text
from loraform_trainer.evaluate.html.parts import Section, cell, counted, head, rate_table, section, side

MAX_BYTES = 2_000_000
FRAME_BYTES = 20_000
"""Bytes of that for the template, the table of contents and the sections' own texts."""
MAX_EXAMPLES = 20
"""Maximum examples of each kind: lost rows, gained rows, failed rows."""


def render(report: EvaluationReport, by_arm: ByArm) -> str:
    """Return the page, of at most `MAX_BYTES`; `by_arm` has the greedy answers."""
    template = Template(resources.files("loraform_trainer.evaluate.html").joinpath("page.html").read_text("utf-8"))
    values = {
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
    return template.substitute(values, contents=tag("nav", tag("ul", *links), aria_label="Contents"), sections=body)


def _figures(report: EvaluationReport) -> list[Section]:
    """Return the sections of the report that have content, in order."""
    sections = [_rates(report), _paired(report.paired)]
    if any(arm.pass_at_k for arm in report.arms):
        sections.append(_pass_at_k(report))
    if report.reflexion is not None:
        sections.append(_reflexion(report.reflexion))
    if len(report.by_suite) > 1:
        sections.append(_grouped("suites", "By suite", report.by_suite, report, ""))
    if report.by_difficulty:
        sections.append(_grouped("difficulty", "By difficulty", report.by_difficulty, report, ""))
    if report.by_type:
        left = report.types_left_out
        rest = f" Not listed: {number_of(left, 'type')} with fewer rows." if left else ""
        note = f"A row counts in every resource type that it asks for.{rest}"
        sections.append(_grouped("types", "By resource type", report.by_type, report, note))
    if report.selection:
        sections.append(training.chosen(report.selection, report.loss))
    if any(point.loss is not None for point in report.loss):
        sections.append(training.loss(report.loss))
    if report.forgetting is not None:
        sections.append(training.forgetting(report.forgetting))
    return [*sections, _provenance(report)]


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
    tables = [rate_table("Answers as the model wrote them (raw)", "Stage", names, raw)]
    if report.house_policy:
        served = [(stage, [_stage(arm, stage).served for arm in report.arms]) for stage in stages]
        caption = "Answers as they would be served, after the house-policy rewrite"
        tables.append(rate_table(caption, "Stage", names, served, "served"))
    apart = [
        ("Truncated", [arm.truncated for arm in report.arms]),
        ("Inconclusive", [arm.inconclusive for arm in report.arms]),
        ("Hallucinated", [arm.hallucinated for arm in report.arms]),
    ]
    return section(
        "rates",
        "Rates by arm and stage",
        tag("p", "Share of the rows with this stage that passed it; a stage that was not reached counts as not passed. "
            "Whiskers: 95 % interval (Wilson; rows of one cluster that agree count as one)."
            + ("" if report.house_policy else " There is no house policy, so answers are served as written.")),
        tag("div", *tables, class_="beside"),
        rate_table("Special outcomes; none of these rows passed", "Outcome", names, apart, "apart"),
        tag("p", "Truncated: the answer reached the maximum length. Inconclusive: a stage could not decide. "
            "Hallucinated: the answer uses a type, block or argument that the provider does not have. "
            "Number of different answers: "
            + ", ".join(f"{arm.name} {arm.distinct_answers}" for arm in report.arms) + "."),
        *(tag("p", f"{arm.name} was prompted with the base model's chat template, the other arms as in training.")
          for arm in report.arms if arm.prompt_template is PromptTemplate.CHAT),
    )  # fmt: skip


def _stage(arm: ArmFigures, stage: str) -> StageFigures:
    return next(f for f in arm.stages if f.stage == stage)


def _paired(paired: PairedFigures) -> Section:
    reference = paired.reference.value
    table = tag(
        "table",
        tag("caption", f"Rows by outcome, candidate against {reference} (raw answers, all stages)"),
        tag("thead", tag("tr", tag("td"), head(f"{reference} passed"), head(f"{reference} failed"))),
        tag(
            "tbody",
            tag("tr", side("Candidate passed"), tag("td", paired.both_passed), tag("td", f"{paired.gained} gained")),
            tag("tr", side("Candidate failed"), tag("td", f"{paired.lost} lost"), tag("td", paired.neither_passed)),
        ),
    )
    return section(
        "paired",
        "Comparison for promotion",
        table,
        tag("p", charts.difference(paired.difference, paired.low, paired.high)),
        tag("p", f"Tango's interval, each bound one-sided 95 %.{_cluster_note(paired.design_effect)} "
            f"{_smallest_gain(paired)} The IaCModel decides whether the candidate goes live; it also requires "
            "minimums and enough rows."),
    )  # fmt: skip


def _cluster_note(effect: float) -> str:
    if effect <= 1:
        return ""
    return f" Rows of one cluster change together, which makes its variance {effect:.3g} times as large."


def _smallest_gain(paired: PairedFigures) -> str:
    rows = paired.both_passed + paired.gained + paired.lost + paired.neither_passed
    if lower_bound(Pairs(rows, rows - paired.lost, paired.lost, paired.design_effect)) <= 0:
        return "With as many rows lost, no net gain is detectable."  # even if all other rows were gained
    points = paired.smallest_visible_difference * 100
    return f"With as many rows lost, the smallest detectable net gain is {points:.{2 if points < 1 else 1}f} points."


def _pass_at_k(report: EvaluationReport) -> Section:
    arms = [arm for arm in report.arms if arm.pass_at_k]
    ks = [estimate.k for estimate in arms[0].pass_at_k]
    first = arms[0].pass_at_k[0]
    rows = [
        tag(
            "tr",
            side(f"pass@{k}"),
            *(cell(e.rate, e.low, e.high) for arm in arms for e in arm.pass_at_k if e.k == k),
        )
        for k in ks
    ]
    table = tag(
        "table",
        tag("caption", "Probability that at least one of k sampled answers passes every stage"),
        tag("thead", tag("tr", head("k"), *(head(arm.name.value) for arm in arms))),
        tag("tbody", *rows),
    )
    return section(
        "passk",
        "Several answers per prompt (pass@k)",
        tag("p", f"{number_of(report.samples_per_prompt, 'answer')} sampled for each of "
            f"{number_of(first.prompts, 'prompt')} at temperature {report.temperature}. Whiskers: 95 % interval over "
            f"{number_of(first.clusters, 'cluster')} (Wilson). These figures do not affect the decision."),
        table,
    )  # fmt: skip


def _reflexion(reflexion: Reflexion) -> Section:
    last, best_of_n = reflexion.rounds[-1], reflexion.best_of_n
    repairs = accumulate(r.repaired for r in reflexion.rounds)
    repair_tokens = accumulate(r.tokens for r in reflexion.rounds)
    methods = [
        (f"After {number_of(r.round, 'repair')}", r.passed, f"{answers} repaired", tokens)
        for r, answers, tokens in zip(reflexion.rounds, repairs, repair_tokens, strict=True)
    ]
    methods.append(("Best of n", best_of_n.passed, f"{best_of_n.answers} sampled", best_of_n.tokens))
    rows = [
        tag("tr", side(name), counted(passed, reflexion.rows), tag("td", answers), tag("td", tokens))
        for name, passed, answers, tokens in methods
    ]
    heads = ("Method", "Rows that pass every stage", "Additional answers in total", "Their tokens, prompts included")
    table = tag(
        "table",
        tag("caption", "The candidate with repairs, and with sampled answers of as many tokens"),
        tag("thead", tag("tr", *map(head, heads))),
        tag("tbody", *rows),
    )
    return section(
        "reflexion",
        "Repairs",
        table,
        tag("p", f"After {number_of(last.round, 'repair')}, compared with the first answers: {_gain(reflexion.gain)}; "
            f"compared with best of n: {_gain(reflexion.over_best_of_n)}. Neither method saw what stage Intent checks. "
            "These figures do not affect the decision."),
    )  # fmt: skip


def _gain(gain: Gain) -> str:
    low, high = float(gain.low) * 100, float(gain.high) * 100
    return f"{number_of(gain.gained, 'row')} gained and {gain.lost} lost ({low:+.1f} to {high:+.1f} points)"


def _grouped(id_: str, title: str, groups: Sequence[EvaluationGroup], report: EvaluationReport, note: str) -> Section:
    arms = [arm.name for arm in report.arms]
    rows = [(f"{g.name} ({number_of(g.rates[arms[0]].rows, 'row')})", [g.rates[arm] for arm in arms]) for g in groups]
    table = rate_table("Raw answers, all stages", title, [arm.value for arm in arms], rows)
    return section(id_, title, tag("p", note) if note else join(), table)


def _provenance(report: EvaluationReport) -> Section:
    facts = [
        ("Run", f"{report.namespace}/{report.name}, uid {report.uid}"),
        ("Verified with", report.toolchain),
        ("Largest difference of a log-probability between trainer and engine", report.parity_max_difference),
        *((f"Adapter of {arm.name}", arm.adapter_digest) for arm in report.arms if arm.adapter_digest),
    ]
    return section("made", "Provenance", tag("dl", *(join(tag("dt", name), tag("dd", fact)) for name, fact in facts)))


def _examples(reference: ArmName, by_arm: ByArm, budget: int) -> list[Section]:
    """Return the sections of lost, gained and failed rows, each of at most `budget` bytes."""
    lost, gained = figures.lost(by_arm, reference), figures.gained(by_arm, reference)
    failed = [s for s in by_arm[ArmName.CANDIDATE] if not s.passed]
    shown = enumerate(examples.failures(failed, MAX_EXAMPLES), 1)
    lists = {
        "lost": (f"Rows lost against {reference}", len(lost), _compared(lost, "lost")),
        "gained": (f"Rows gained against {reference}", len(gained), _compared(gained, "gained")),
        "failed": ("Rows that the candidate failed", len(failed), (examples.failure(s, i) for i, s in shown)),
    }  # fmt: skip
    return [_listed(id_, title, count, parts, budget) for id_, (title, count, parts) in lists.items()]


def _compared(pairs: Sequence[tuple[ScoredAnswer, ScoredAnswer]], kind: str) -> Iterable[Markup]:
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
    note = "None." if not count else f"{rest} more in evaluation/rows.jsonl." if rest else ""
    return section(id_, f"{title}: {count}", *shown, tag("p", note) if note else join())
