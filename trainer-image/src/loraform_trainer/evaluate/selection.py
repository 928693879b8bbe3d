"""Which of the last checkpoints is the candidate: the one of which most answers to the selection rows pass.

Selection rows are validation rows of the training data, so that the promotion suite meets the chosen checkpoint alone.
The choice is on disk before the chosen adapter takes the place of what train took: an evaluation that is killed and
begun again chooses the same.
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
from loraform_api.verification import HousePolicy, stages_without_plan
from loraform_trainer.evaluate.arms import Arm, Row
from loraform_trainer.evaluate.checkpoint_choice import best, losses
from loraform_trainer.evaluate.generation import Adapters, Asked, Generation
from loraform_trainer.evaluate.judging import Judge, Question
from loraform_trainer.evaluate.stage_progress import Share
from loraform_trainer.evaluate.write_report import training_log
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import StageError
from loraform_trainer.runtime.files import adapter_folder_digest, copy_hashed, fsync_folder, read_jsonl, write_atomic
from loraform_trainer.runtime.paths import Paths

log = logging.getLogger(__name__)

PREFIX = "step-"
GENERATING = 0.8
"""Share of the selection's progress that generation takes."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    step: int
    folder: Path
    digest: str


class Choice(WireModel):
    """`evaluation/selection.json`: what was chosen, and from what."""

    step: int
    adapter_digest: Sha256
    scores: list[CheckpointScore]


async def select(
    context: Context, adapters: Adapters, generation: Generation, judge: Judge, share: Share
) -> Choice | None:
    """Make the best checkpoint the run's adapter and return the choice; None where there is nothing to choose from."""
    paths = context.paths
    found = checkpoints(paths)
    choice = made(paths, found)
    if choice is None:
        rows = questions(paths, context.config.policy)
        if len(found) < 2 or not rows:
            if context.config.spec.checkpoint.candidates > 1:
                words = "no choice: %d checkpoints, %d selection rows; what train took stays"
                log.warning(words, len(found), len(rows))
            return None
        passed = [
            await _passed(
                checkpoint, rows, adapters, generation, judge, share.part(i / len(found), (i + 1) / len(found))
            )
            for i, checkpoint in enumerate(found)
        ]
        scores = [CheckpointScore(step=c.step, rows=len(rows), passed=p) for c, p in zip(found, passed, strict=True)]
        step = best(scores, losses(training_log(paths)))
        choice = Choice(step=step, adapter_digest=next(c.digest for c in found if c.step == step), scores=scores)
        write_atomic(paths.selection, choice.model_dump_json(by_alias=True))
    settle(paths, next(c for c in found if c.step == choice.step))
    return choice


def checkpoints(paths: Paths) -> list[Checkpoint]:
    """Return the checkpoints that `train` left to choose from, by step."""
    folders = {int(f.name.removeprefix(PREFIX)): f for f in paths.candidates.glob(f"{PREFIX}*") if _step(f).isdecimal()}
    return [Checkpoint(step, folder, adapter_folder_digest(folder)) for step, folder in sorted(folders.items())]


def questions(paths: Paths, policy: HousePolicy | None) -> list[Row]:
    """Return the selection rows; what is asked of an answer is what can be asked without a reference."""
    if not paths.selection_rows.is_file():
        return []
    stages = tuple(stages_without_plan(policy))
    lines = read_jsonl(paths.selection_rows)
    return [Row(line["id"], "selection", line["instruction"], line["input"], None, stages) for line in lines]


def made(paths: Paths, found: Sequence[Checkpoint]) -> Choice | None:
    """Return the choice that an earlier process made among these checkpoints."""
    try:
        choice = Choice.model_validate_json(paths.selection.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        log.warning("choosing again: %s is not readable: %s", paths.selection.name, error)
        return None
    known = [score.step for score in choice.scores] == [c.step for c in found]
    return choice if known and (choice.step, choice.adapter_digest) in {(c.step, c.digest) for c in found} else None


def settle(paths: Paths, chosen: Checkpoint) -> None:
    """Make a checkpoint the run's adapter, whole or not at all. Nothing is done where it is that already."""
    if paths.adapter.is_dir() and adapter_folder_digest(paths.adapter) == chosen.digest:
        return
    new, old = (paths.workspace / name for name in (".adapter.new", ".adapter.old"))
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
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


async def _passed(
    checkpoint: Checkpoint, rows: Sequence[Row], adapters: Adapters, generation: Generation, judge: Judge, share: Share
) -> int:
    """Return how many of a checkpoint's greedy answers pass, as the model wrote them."""
    await adapters.prove(checkpoint.digest, checkpoint.folder)
    arm = Arm(ArmName.CANDIDATE, adapter_name(checkpoint.digest), checkpoint.digest)
    answers = await generation.answers([Asked(arm, row) for row in rows], share.part(0, GENERATING))
    whole = [Question.whole(s.row, s.text) for s in answers if not s.truncated]
    verdicts = await judge.verdicts(whole, rewrite=False, told=share.part(GENERATING, 1))
    return sum(verdicts[question].passed for question in whole)
