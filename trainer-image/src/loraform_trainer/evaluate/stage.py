"""Stage `evaluate`: chooses a checkpoint, checks parity, generates each arm's answers, verifies and compares them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from loraform_api.artifact import PARITY_FILE
from loraform_api.finetunejob_status import ArmName
from loraform_api.names import RunStage
from loraform_api.run import EvaluateResult, StageReport
from loraform_api.statistics import interval_text, lower_bound, upper_bound
from loraform_api.verification import Toolchain
from loraform_engine.parity import ParityFile
from loraform_engine.proof import adapter_folder_digest
from loraform_trainer.evaluate import arms, baseline, reflexion, selection, write_report
from loraform_trainer.evaluate.answer_verifier import AnswerVerifier
from loraform_trainer.evaluate.arms import Arm, EvaluationRow, ScoredAnswer
from loraform_trainer.evaluate.generation import Adapters, AnswerGenerator, generation_requests, suite_rows
from loraform_trainer.evaluate.selection import CheckpointChoice
from loraform_trainer.evaluate.sidecars import open_engine, open_verifier
from loraform_trainer.evaluate.stage_progress import PartialProgress
from loraform_trainer.evaluate.toolchain import describe
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.files import sha256_file, write_jsonl

log = logging.getLogger(__name__)

SELECTING = 0.2
"""Share of the stage's progress for choosing a checkpoint, if there are several."""
GENERATING = 0.8
"""Share of the arms' progress for generation."""
ARMS = 0.7
"""Share of the remaining progress for the arms, if Reflexion is measured, too."""


def run(context: Context) -> StageReport:
    """Evaluate the candidate and write the reports; raises StageError."""
    return asyncio.run(evaluate(context))


async def evaluate(context: Context) -> StageReport:
    """Same as `run`, inside an event loop."""
    config, paths = context.config, context.paths
    rows = suite_rows(paths)
    measured = await _measure(context, rows)
    greedy, sampled = ([s for s in measured.scored if bool(s.sample) is kind] for kind in (False, True))
    write_jsonl(paths.evaluation_rows, (_record(s) for s in greedy))
    if sampled:
        write_jsonl(paths.evaluation_samples, (_record(s) for s in sampled))
    by_arm = arms.by_arm(measured.compared, greedy)
    reference = ArmName.BASE if measured.live is None else ArmName.LIVE
    result = EvaluateResult(
        selection=measured.choice.scores if measured.choice else [],
        arms=[arms.count(name, answers) for name, answers in by_arm.items()],
        paired=arms.pair(by_arm[reference], by_arm[ArmName.CANDIDATE]),
        live_digest=measured.live,
        suite_digest=sha256_file(paths.suite_rows),
        parity_max_difference=f"{measured.parity_difference:.3g}",
        toolchain=describe(measured.toolchain),
    )
    if rounds := config.spec.evaluation.reflexion_rounds:
        write_jsonl(paths.evaluation_reflexion, reflexion.records(measured.histories))
        figures = reflexion.summary(measured.histories, len(rows), rounds)
        result = result.model_copy(update={"reflexion": figures})
    result = write_report.write(context, result, by_arm, arms.by_arm(measured.compared, sampled))
    return StageReport(stage=RunStage.EVALUATE, message=_message(result, measured.choice), evaluate=result)


def _message(result: EvaluateResult, choice: CheckpointChoice | None) -> str:
    passed = ", ".join(f"{a.name} {a.counts[arms.ALL].raw}" for a in result.arms)
    chosen = f"; checkpoint {choice.step} chosen from {len(choice.scores)}" if choice else ""
    pairs = result.paired.pairs
    interval = interval_text(lower_bound(pairs), upper_bound(pairs))
    return (
        f"passed raw, of {pairs.rows} rows: {passed}; candidate {pairs.difference * 100:+.1f} points against"
        f" {result.paired.reference} ({interval}){chosen}"
    )


@dataclass(frozen=True)
class _Measured:
    """The scored answers, and how they were obtained."""

    live: str | None
    """Digest of the live version's adapter; None if there is none that can answer."""
    choice: CheckpointChoice | None
    compared: list[Arm]
    parity_difference: float
    scored: list[ScoredAnswer]
    histories: list[reflexion.RowRepairs]
    toolchain: Toolchain


async def _measure(context: Context, rows: Sequence[EvaluationRow]) -> _Measured:
    config, paths = context.config, context.paths
    spec = config.spec.evaluation
    selecting = SELECTING if config.spec.checkpoint.candidates > 1 else 0.0
    selection_progress = PartialProgress(context.progress, 0, selecting)
    progress = PartialProgress(context.progress, selecting)
    arms_share = ARMS if spec.reflexion_rounds else 1.0
    arms_progress, reflexion_progress = progress.part(0, arms_share), progress.part(arms_share, 1)
    async with open_engine(context) as engine, open_verifier(context) as verifier_client:
        verifier, merged = AnswerVerifier(context, verifier_client), config.spec.output.merge
        await verifier.check_toolchain()
        generator = await AnswerGenerator.of(context, engine)
        adapters = Adapters(engine, generator.template_hash, adapter_folder_digest(paths.adapter) if merged else None)
        choice = await selection.select(context, adapters, generator, verifier, selection_progress)
        candidate = adapter_folder_digest(paths.adapter)
        difference = await adapters.load(candidate, paths.adapter)
        live = _live_digest(context, generator.template_hash)
        if live is not None:
            await adapters.load(live, paths.live)
        compared = arms.compared_arms(
            candidate, live, config.policy, has_chat_template=generator.uses_chat_template, merged=merged
        )
        answers = await _answers(context, compared, rows, generator, arms_progress.part(0, GENERATING))
        scored = await verifier.verify_answers(answers, arms_progress.part(GENERATING, 1))
        histories: list[reflexion.RowRepairs] = []
        if spec.reflexion_rounds:
            first = [s for s in scored if s.arm.name is ArmName.CANDIDATE and not s.sample]
            run = reflexion.ReflexionRun(generator.generate, verifier, spec.reflexion_rounds, reflexion_progress)
            histories = await run.measure(first)
    return _Measured(live, choice, compared, difference, scored, histories, verifier.toolchain)


def _live_digest(context: Context, template_hash: str) -> str | None:
    """Return the digest of the live version; None if there is none, or it was trained with another template.

    Gateways refuse such a version, so the base is the reference; otherwise no run could ever replace it.
    """
    live = context.config.live
    if live is None:
        return None
    parity = ParityFile.model_validate_json((context.paths.live / PARITY_FILE).read_bytes())
    if parity.template_hash == template_hash:
        return live.digest
    log.warning("version %d is left out: it was trained with another prompt template", live.version)
    return None


async def _answers(
    context: Context,
    compared: Sequence[Arm],
    rows: Sequence[EvaluationRow],
    generator: AnswerGenerator,
    progress: PartialProgress,
) -> list[ScoredAnswer]:
    """Return all arms' answers; if the candidate is merged, the base's were written by stage `baseline`."""
    config, spec = context.config, context.config.spec.evaluation
    from_baseline = [arm for arm in compared if arm.digest is None] if config.spec.output.merge else []
    requests = generation_requests(from_baseline, rows, spec)
    answers = baseline.read_answers(context.paths, requests) if from_baseline else []
    remaining = generation_requests(compared[len(from_baseline) :], rows, spec)
    return [*answers, *await generator.answers(remaining, progress)]


def _record(scored: ScoredAnswer) -> dict[str, object]:
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
