"""Chooses the candidate among the last checkpoints: the one whose answers to the selection rows pass most often.

Selection rows are validation rows of the training data, so that only the chosen checkpoint is measured on the promotion
suite. The choice is written before the chosen adapter replaces train's: an evaluation that is killed and restarted
makes the same choice.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from loraform_api.artifact import ADAPTER_FILES, PARITY_FILE
from loraform_api.finetunejob_status import ArmName
from loraform_api.heartbeat import adapter_name
from loraform_api.meta import Sha256, WireModel
from loraform_api.run import CheckpointScore
from loraform_api.verification import WITHOUT_PLAN
from loraform_engine.proof import adapter_folder_digest
from loraform_trainer.evaluate.answer_verifier import AnswerVerifier, ProgramCheck
from loraform_trainer.evaluate.arms import Arm, EvaluationRow
from loraform_trainer.evaluate.checkpoint_choice import best, losses
from loraform_trainer.evaluate.generation import Adapters, AnswerGenerator, GenerationRequest
from loraform_trainer.evaluate.stage_progress import PartialProgress
from loraform_trainer.evaluate.write_report import training_log
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import StageError
from loraform_trainer.runtime.files import copy_hashed, fsync_folder, read_jsonl, write_atomic
from loraform_trainer.runtime.paths import Paths

log = logging.getLogger(__name__)

PREFIX = "step-"
GENERATING = 0.8
"""Share of the selection's progress for generation."""


@dataclass(frozen=True, slots=True)
class CandidateCheckpoint:
    """A checkpoint's adapter that stage train wrote for evaluation."""

    step: int
    folder: Path
    digest: str


class CheckpointChoice(WireModel):
    """`evaluation/selection.json`: the chosen checkpoint and the scores of all."""

    step: int
    adapter_digest: Sha256
    scores: list[CheckpointScore]


async def select(
    context: Context,
    adapters: Adapters,
    generator: AnswerGenerator,
    verifier: AnswerVerifier,
    progress: PartialProgress,
) -> CheckpointChoice | None:
    """Make the best checkpoint the run's adapter and return the choice; None if there is nothing to choose from."""
    paths = context.paths
    candidates = checkpoints(paths)
    choice = read_choice(paths, candidates)
    if choice is None:
        rows = selection_rows(paths)
        if len(candidates) < 2 or not rows:
            if context.config.spec.checkpoint.candidates > 1:
                message = "keeping the checkpoint of stage train: %d checkpoints and %d selection rows to choose by"
                log.warning(message, len(candidates), len(rows))
            return None
        count = len(candidates)
        parts = [progress.part(i / count, (i + 1) / count) for i in range(count)]
        scores = [
            await _score(checkpoint, rows, adapters, generator, verifier, part)
            for checkpoint, part in zip(candidates, parts, strict=True)
        ]
        step = best(scores, losses(training_log(paths)))
        digest = next(c.digest for c in candidates if c.step == step)
        choice = CheckpointChoice(step=step, adapter_digest=digest, scores=scores)
        write_atomic(paths.selection, choice.model_dump_json(by_alias=True))
    install(paths, next(c for c in candidates if c.step == choice.step))
    return choice


def checkpoints(paths: Paths) -> list[CandidateCheckpoint]:
    """Return the candidate checkpoints that stage train wrote, by step."""
    folders = {int(f.name.removeprefix(PREFIX)): f for f in paths.candidates.glob(f"{PREFIX}*") if _step(f).isdecimal()}
    return [
        CandidateCheckpoint(step, folder, adapter_folder_digest(folder)) for step, folder in sorted(folders.items())
    ]


def selection_rows(paths: Paths) -> list[EvaluationRow]:
    """Return the selection rows with the stages that need no reference."""
    if not paths.selection_rows.is_file():
        return []
    lines = read_jsonl(paths.selection_rows)
    return [
        EvaluationRow(line["id"], "selection", line["instruction"], line["input"], None, WITHOUT_PLAN) for line in lines
    ]


def read_choice(paths: Paths, candidates: Sequence[CandidateCheckpoint]) -> CheckpointChoice | None:
    """Return the choice that an earlier process made among these checkpoints; None if there is none."""
    try:
        choice = CheckpointChoice.model_validate_json(paths.selection.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        log.warning("choosing again: %s is not readable: %s", paths.selection.name, error)
        return None
    same_steps = [score.step for score in choice.scores] == [c.step for c in candidates]
    same_digest = (choice.step, choice.adapter_digest) in {(c.step, c.digest) for c in candidates}
    return choice if same_steps and same_digest else None


def install(paths: Paths, chosen: CandidateCheckpoint) -> None:
    """Make a checkpoint the run's adapter, atomically; no-op if it already is."""
    if paths.adapter.is_dir() and adapter_folder_digest(paths.adapter) == chosen.digest:
        return
    new, old = (paths.workspace / name for name in (".adapter.new", ".adapter.old"))
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed process
    for name in (*ADAPTER_FILES, PARITY_FILE):
        with (chosen.folder / name).open("rb") as stream:
            copy_hashed(stream, new / name)
    if adapter_folder_digest(new) != chosen.digest:
        raise StageError(f"checkpoint {chosen.step} changed while it was copied")
    fsync_folder(new)
    if paths.adapter.is_dir():
        paths.adapter.rename(old)
    new.rename(paths.adapter)
    fsync_folder(paths.workspace)
    shutil.rmtree(old, ignore_errors=True)


def _step(folder: Path) -> str:
    return folder.name.removeprefix(PREFIX)


async def _score(
    checkpoint: CandidateCheckpoint,
    rows: Sequence[EvaluationRow],
    adapters: Adapters,
    generator: AnswerGenerator,
    verifier: AnswerVerifier,
    progress: PartialProgress,
) -> CheckpointScore:
    """Count the rows whose greedy answer, as the model wrote it, passes."""
    await adapters.load(checkpoint.digest, checkpoint.folder)
    arm = Arm(ArmName.CANDIDATE, adapter_name(checkpoint.digest), checkpoint.digest)
    answers = await generator.answers([GenerationRequest(arm, row) for row in rows], progress.part(0, GENERATING))
    checks = [ProgramCheck.of_row(s.row, s.text) for s in answers if not s.truncated]
    verdicts = await verifier.verdicts(checks, rewrite=False, report_progress=progress.part(GENERATING, 1))
    passed = sum(verdicts[check].passed for check in checks)
    return CheckpointScore(step=checkpoint.step, rows=len(rows), passed=passed)
