"""Stage `baseline`: the base answers the suites, in an engine of its own before that of a merged candidate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_trainer.evaluate import arms
from loraform_trainer.evaluate.arms import Scored
from loraform_trainer.evaluate.engine import connect
from loraform_trainer.evaluate.generation import Asked, Generation, asked, suite
from loraform_trainer.evaluate.stage_progress import Share
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import StageError
from loraform_trainer.runtime.files import read_jsonl, write_jsonl
from loraform_trainer.runtime.paths import Paths


def run(context: Context) -> StageReport:
    """Leave the base's answers for stage `evaluate`, which judges all answers together."""
    return asyncio.run(answer(context))


async def answer(context: Context) -> StageReport:
    """As `run`, inside an event loop."""
    config, paths = context.config, context.paths
    async with connect(context.engine_url, context.sidecar_wait_seconds) as engine:
        generation = Generation(context, engine, await engine.max_length())
        questions = asked(arms.baseline(config.policy, chats=generation.chats), suite(paths), config.spec.evaluation)
        answers = await generation.answers(questions, Share(context.progress))
    write_jsonl(paths.baseline_answers, (_record(answer) for answer in answers))
    return StageReport(stage=RunStage.BASELINE, message=f"{len(answers)} answers of the base")


def answers(paths: Paths, questions: Sequence[Asked]) -> list[Scored]:
    """Return the answers that were left, to exactly these questions; raises StageError when they are to others."""
    lines = list(read_jsonl(paths.baseline_answers))
    found = [
        Scored(question.arm, question.row, line["text"], line["truncated"], sample=question.sample)
        for question, line in zip(questions, lines, strict=False)
    ]
    if len(lines) != len(questions) or [_record(answer) for answer in found] != lines:
        raise StageError(f"{paths.baseline_answers.name} does not answer the suites of this run")
    return found


def _record(answer: Scored) -> dict[str, object]:
    return {
        "arm": str(answer.arm.name),
        "suite": answer.row.suite,
        "id": answer.row.id,
        "sample": answer.sample,
        "text": answer.text,
        "truncated": answer.truncated,
    }
