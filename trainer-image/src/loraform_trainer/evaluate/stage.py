"""Stage `evaluate`: a checkpoint is chosen, parity proven, each arm answers each held-out row, and all are judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loraform_api.finetunejob_status import ArmName
from loraform_api.names import RunStage
from loraform_api.run import EvaluateResult, StageReport
from loraform_api.statistics import interval_text, lower_bound, upper_bound
from loraform_api.verification import Toolchain
from loraform_trainer.evaluate import arms, baseline, reflexion, selection, write_report
from loraform_trainer.evaluate.arms import Arm, Row, Scored
from loraform_trainer.evaluate.engine import Engine, connect, wait_until
from loraform_trainer.evaluate.generation import Adapters, Generation, asked, suite
from loraform_trainer.evaluate.judging import Judge
from loraform_trainer.evaluate.selection import Choice
from loraform_trainer.evaluate.stage_progress import Share
from loraform_trainer.evaluate.toolchain import words
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.files import adapter_folder_digest, sha256_file, write_jsonl
from loraform_verifier.http.client import VerifierClient

SELECTING = 0.2
"""Share of the progress that choosing a checkpoint takes, where there are some."""
GENERATING = 0.8
"""Share of the arms' progress that generation takes."""
ARMS = 0.7
"""Share of the rest that the arms take where Reflexion follows."""


def run(context: Context) -> StageReport:
    """Measure the candidate; raises StageError, AdapterNotServableError among them."""
    return asyncio.run(measure(context))


async def measure(context: Context) -> StageReport:
    """As `run`, inside an event loop."""
    config, paths = context.config, context.paths
    rows = suite(paths)
    live = None if config.live is None else config.live.digest
    found = await _find(context, live, rows)
    greedy, drawn = ([s for s in found.scored if bool(s.sample) is kind] for kind in (False, True))
    write_jsonl(paths.evaluation_rows, (_record(s) for s in greedy))
    if drawn:
        write_jsonl(paths.evaluation_samples, (_record(s) for s in drawn))
    by_arm = arms.by_arm(found.compared, greedy)
    reference = ArmName.BASE if live is None else ArmName.LIVE
    result = EvaluateResult(
        selection=found.choice.scores if found.choice else [],
        arms=[arms.count(name, answers) for name, answers in by_arm.items()],
        paired=arms.pair(by_arm[reference], by_arm[ArmName.CANDIDATE]),
        live_digest=live,
        suite_digest=sha256_file(paths.suite_rows),
        parity_max_difference=f"{found.parity_difference:.3g}",
        toolchain=words(found.toolchain),
    )
    if rounds := config.spec.evaluation.reflexion_rounds:
        write_jsonl(paths.evaluation_reflexion, reflexion.records(found.trails))
        figures = reflexion.summary(found.trails, len(rows), rounds)
        result = result.model_copy(update={"reflexion": figures})
    result = write_report.write(context, result, by_arm, arms.by_arm(found.compared, drawn))
    return StageReport(stage=RunStage.EVALUATE, message=_message(result, found.choice), evaluate=result)


def _message(result: EvaluateResult, choice: Choice | None) -> str:
    passed = ", ".join(f"{a.name} {a.counts[arms.ALL].raw}" for a in result.arms)
    chosen = f"; checkpoint {choice.step} chosen of {len(choice.scores)}" if choice else ""
    pairs = result.paired.pairs
    interval = interval_text(lower_bound(pairs), upper_bound(pairs))
    return (
        f"of {pairs.rows} rows passed raw: {passed}; {pairs.difference * 100:+.1f} points to {result.paired.reference}"
        f" ({interval}){chosen}"
    )


@dataclass(frozen=True)
class _Found:
    """What engine and verifier said."""

    choice: Choice | None
    compared: list[Arm]
    parity_difference: float
    scored: list[Scored]
    trails: list[reflexion.Trail]
    toolchain: Toolchain


async def _find(context: Context, live: str | None, rows: Sequence[Row]) -> _Found:
    config, paths = context.config, context.paths
    spec = config.spec.evaluation
    selecting = SELECTING if config.spec.checkpoint.candidates > 1 else 0.0
    whole = Share(context.progress, selecting)
    measuring, repairing = whole.part(0, share := ARMS if spec.reflexion_rounds else 1.0), whole.part(share, 1)
    async with _sidecars(context) as (engine, verifier):
        judge, merged = Judge(context, verifier), config.spec.output.merge
        adapters = Adapters(engine, adapter_folder_digest(paths.adapter) if merged else None)
        await judge.check_toolchain()
        generation = Generation(context, engine, await engine.max_length())
        choice = await selection.select(context, adapters, generation, judge, Share(context.progress, 0, selecting))
        candidate = adapter_folder_digest(paths.adapter)
        difference = await adapters.prove(candidate, paths.adapter)
        if live is not None:
            await adapters.prove(live, paths.live)
        compared = arms.arms(candidate, live, config.policy, chats=generation.chats, merged=merged)
        answered = await _answers(context, compared, rows, generation, measuring.part(0, GENERATING))
        scored = await judge.judge(answered, measuring.part(GENERATING, 1))
        trails: list[reflexion.Trail] = []
        if spec.reflexion_rounds:
            first = [s for s in scored if s.arm.name is ArmName.CANDIDATE and not s.sample]
            trails = await reflexion.Measurement(generation.generate, judge, spec.reflexion_rounds, repairing).run(
                first
            )
    return _Found(choice, compared, difference, scored, trails, judge.toolchain)


async def _answers(
    context: Context, compared: Sequence[Arm], rows: Sequence[Row], generation: Generation, share: Share
) -> list[Scored]:
    """Return all arms' answers; where the candidate is merged, the base gave its own before, in stage `baseline`."""
    config, spec = context.config, context.config.spec.evaluation
    known = [arm for arm in compared if arm.digest is None] if config.spec.output.merge else []
    answered = baseline.answers(context.paths, asked(known, rows, spec)) if known else []
    return [*answered, *await generation.answers(asked(compared[len(known) :], rows, spec), share)]


@asynccontextmanager
async def _sidecars(context: Context) -> AsyncIterator[tuple[Engine, VerifierClient]]:
    wait = context.sidecar_wait_seconds
    async with VerifierClient(context.verifier_url) as verifier, connect(context.engine_url, wait) as engine:
        await wait_until(verifier.healthy, "the verifier", wait)
        yield engine, verifier


def _record(scored: Scored) -> dict[str, object]:
    row = scored.row
    return {
        "id": row.id,
        "suite": row.suite,
        "arm": str(scored.arm.name),
        "adapterDigest": scored.arm.digest,
        "sample": scored.sample,
        "promptTemplate": str(scored.arm.template),
        "prompt": {"instruction": scored.arm.instruction(row), "input": row.input},
        "asked": None if row.asked is None else row.asked.model_dump(mode="json"),
        "raw": scored.text,
        "served": scored.served_text,
        "truncated": scored.truncated,
        "passed": scored.passed,
        "rawVerdict": None if scored.raw is None else scored.raw.model_dump(mode="json", by_alias=True),
        "servedVerdict": None
        if scored.served is None
        else scored.served.model_dump(mode="json", by_alias=True, exclude={"rewritten"}),
    }
