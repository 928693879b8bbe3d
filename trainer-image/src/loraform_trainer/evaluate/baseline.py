"""Stage `baseline`: generates the base's answers, as the engine of a merged candidate does not have the base."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_trainer.evaluate import arms
from loraform_trainer.evaluate.arms import ScoredAnswer
from loraform_trainer.evaluate.generation import AnswerGenerator, GenerationRequest, generation_requests, suite_rows
from loraform_trainer.evaluate.sidecars import open_engine
from loraform_trainer.evaluate.stage_progress import PartialProgress
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import StageError
from loraform_trainer.runtime.files import read_jsonl, write_jsonl
from loraform_trainer.runtime.paths import Paths


def run(context: Context) -> StageReport:
    """Write the base's answers for stage `evaluate`, which verifies all answers together."""
    return asyncio.run(answer_suites(context))


async def answer_suites(context: Context) -> StageReport:
    """Same as `run`, inside an event loop."""
    config, paths = context.config, context.paths
    async with open_engine(context) as engine:
        generator = await AnswerGenerator.of(context, engine)
        compared = arms.base_arms(config.policy, has_chat_template=generator.uses_chat_template)
        requests = generation_requests(compared, suite_rows(paths), config.spec.evaluation)
        answers = await generator.answers(requests, PartialProgress(context.progress))
    write_jsonl(paths.baseline_answers, (_record(answer) for answer in answers))
    return StageReport(stage=RunStage.BASELINE, message=f"{len(answers)} answers of the base")


def read_answers(paths: Paths, requests: Sequence[GenerationRequest]) -> list[ScoredAnswer]:
    """Return the answers that stage baseline wrote; raises StageError unless they match these requests."""
    lines = list(read_jsonl(paths.baseline_answers))
    answers = [
        ScoredAnswer(request.arm, request.row, line["text"], line["truncated"], sample=request.sample)
        for request, line in zip(requests, lines, strict=False)
    ]
    if len(lines) != len(requests) or [_record(answer) for answer in answers] != lines:
        raise StageError(f"{paths.baseline_answers.name} does not match the suites of this run")
    return answers


def _record(answer: ScoredAnswer) -> dict[str, object]:
    return {
        "arm": str(answer.arm.name),
        "suite": answer.row.suite,
        "id": answer.row.id,
        "sample": answer.sample,
        "text": answer.text,
        "truncated": answer.truncated,
    }
