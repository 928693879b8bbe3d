"""Renders a FineTuneJob, an IaCModel and an evaluation on a terminal, with rich."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import EvaluationStatus
from loraform_api.iacmodel import IaCModel
from loraform_api.verification import Stage
from loraform_cli.object_state import (
    attempt_text,
    condition_lines,
    is_true,
    minutes,
    progress_text,
    running_stage,
    stage_seconds,
)

RATE_COLUMNS = (*[stage.value for stage in Stage], "All")


def view(resource: FineTuneJob | IaCModel, elapsed: float) -> RenderableType:
    """Return the live display of one object; `elapsed` is in seconds since the watch began."""
    body = _stages(resource) if isinstance(resource, FineTuneJob) else _versions(resource)
    kind = type(resource).__name__.lower()
    head = f"[bold]{kind}/{escape(resource.metadata.name)}[/]  {minutes(elapsed)}"
    if isinstance(resource, FineTuneJob) and resource.status.phase:
        head += f"  [cyan]{escape(resource.status.phase)}[/]"
    style = "red" if is_true(resource, "Stalled") else "dim"
    return Group(head, body, *(Text(line, style) for line in condition_lines(resource.status.conditions)))


def _stages(job: FineTuneJob) -> Table:
    table = Table.grid(padding=(0, 2))
    finished = {stage.name: stage for stage in job.status.stages}
    seconds = stage_seconds(job)
    now = running_stage(job)
    for name in job.spec.stages:
        if name in finished:
            table.add_row("[green]✓[/]", name, minutes(seconds[name]), Text(finished[name].summary))
        elif name is now:
            table.add_row("[cyan]▸[/]", name, "", _bar(job))
        else:
            table.add_row("[dim]·[/]", f"[dim]{name}[/]", "", "")
    for attempt in job.status.attempts:
        table.add_row("[yellow]![/]", attempt.stage, "", Text(attempt_text(attempt)))
    return table


def _bar(job: FineTuneJob) -> RenderableType:
    if job.status.progress is None:
        return ""
    line = Table.grid(padding=(0, 2))
    line.add_row(ProgressBar(completed=job.status.progress.percentage, width=30), Text(progress_text(job)))
    return line


def _versions(model: IaCModel) -> Table:
    table = Table.grid(padding=(0, 2))
    for version in model.status.versions:
        live = "[green]live[/]" if version.version == model.status.live_version else ""
        table.add_row(f"v{version.version}", escape(version.job), version.decision, live, Text(version.message))
    return table


def arms_table(evaluation: EvaluationStatus) -> Table:
    """Return a table of each arm's raw and served rates, with the verification stages as columns."""
    table = Table(title="rows that passed, in percent of all: raw = as the model wrote it, served = after the rewrite")
    measured = {rate.stage for arm in evaluation.arms for rate in arm.rates}
    stages = [name for name in RATE_COLUMNS if name in measured]
    for column in ("Arm", "Rows", "Form", *stages):
        table.add_column(column, justify="left" if column in ("Arm", "Form") else "right", no_wrap=True)
    for arm in evaluation.arms:
        rates = {rate.stage: rate for rate in arm.rates}
        for form in ("raw", "served"):
            cells = [percent(getattr(rates[name], form)) if name in rates else "" for name in stages]
            first = (arm.name.value, str(arm.rows)) if form == "raw" else ("", "")
            table.add_row(*first, form, *cells)
    return table


def percent(rate: str) -> str:
    """Format a rate from 0 to 1 as a percentage without its sign."""
    return f"{float(rate) * 100:.1f}"


def paired_text(evaluation: EvaluationStatus) -> str:
    """Return the comparison that decides promotion as one line."""
    paired = evaluation.paired
    other = paired.reference.lower()
    return (
        f"candidate compared with {other} on the same rows, raw, all stages: "
        f"{paired.candidate_only} only the candidate passed, {paired.reference_only} only the {other}, "
        f"{paired.both_passed} both, {paired.neither_passed} neither"
    )
