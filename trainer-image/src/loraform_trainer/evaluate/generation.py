"""Asks the engine: adapters are proven when they are loaded, then many questions are asked at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from loraform_api.artifact import PARITY_FILE
from loraform_api.finetunejob import EvaluationSpec
from loraform_api.finetunejob_status import ArmName
from loraform_api.heartbeat import adapter_name
from loraform_api.meta import PromptTemplate
from loraform_api.names import ENGINE_MODEL
from loraform_engine.parity import ParityFile
from loraform_engine.prompt import unfenced
from loraform_trainer.evaluate import chat
from loraform_trainer.evaluate.arms import Arm, Row, Scored
from loraform_trainer.evaluate.chat import Chat, program_in
from loraform_trainer.evaluate.engine import Engine, Generated, together
from loraform_trainer.evaluate.stage_progress import Share
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import AdapterNotServableError, DatasetInvalidError
from loraform_trainer.runtime.files import read_jsonl
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.runtime.progress import Countdown

CONCURRENCY = 32


class Adapters:
    """The adapters in the engine, each loaded once and proven to be what was trained."""

    def __init__(self, engine: Engine, merged: str | None = None) -> None:
        """`merged` is the digest of the adapter that is part of the engine's own model, where there is one."""
        self._engine = engine
        self._merged = merged
        self._differences: dict[str, float] = {}

    async def prove(self, digest: str, folder: Path) -> float:
        """Load the adapter in `folder` unless it is there; return its largest difference from the trainer's figures.

        Raises AdapterNotServableError where the engine refuses it or answers otherwise than the trainer.
        """
        if digest not in self._differences:
            name = ENGINE_MODEL if digest == self._merged else adapter_name(digest)
            if digest != self._merged:
                await self._engine.load(name, folder)
            file = ParityFile.model_validate_json((folder / PARITY_FILE).read_text(encoding="utf-8"))
            result = await self._engine.parity(name, file)
            if not result.passed:
                raise AdapterNotServableError(f"{name}: {result.message}")
            self._differences[digest] = result.max_difference
        return self._differences[digest]


@dataclass(frozen=True)
class Asked:
    """One question to the engine."""

    arm: Arm
    row: Row
    sample: int = 0
    """0 for the greedy answer."""


def sampled(compared: Sequence[Arm]) -> set[ArmName]:
    """Return the arms that draw answers for pass@k: the candidate, and what it is to be better than."""
    live = any(arm.name is ArmName.LIVE for arm in compared)
    return {ArmName.CANDIDATE, ArmName.LIVE if live else ArmName.BASE}


def asked(compared: Sequence[Arm], rows: Sequence[Row], spec: EvaluationSpec) -> list[Asked]:
    """Return what the engine is asked: each row of each arm greedily, and what is drawn for pass@k."""
    drawing = sampled(compared)
    drawn = range(1, spec.samples_per_prompt + 1) if spec.samples_per_prompt > 1 else ()
    return [
        Asked(arm, row, sample)
        for arm in compared
        for row in rows
        for sample in (0, *(drawn if arm.name in drawing else ()))
    ]


def suite(paths: Paths) -> list[Row]:
    """Return the suites' rows as `prepare` left them; raises DatasetInvalidError when there are none."""
    rows = [Row.from_json(row) for row in read_jsonl(paths.suite_rows)]
    if not rows:
        raise DatasetInvalidError("spec.evaluation.suites: the suites have no rows")
    return rows


class Generation:
    """The engine with a run's prompts and limits."""

    def __init__(self, context: Context, engine: Engine, longest: int) -> None:
        """`longest` is the engine's longest sequence in tokens, prompt and answer together."""
        self._context = context
        self._engine = engine
        self._longest = longest
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._vocabulary = tokens.load(context.paths.base)

    @cached_property
    def _chat(self) -> Chat | None:
        return chat.read(self._context.paths.base, self._vocabulary.tokenizer)

    @property
    def chats(self) -> bool:
        """There is an arm that asks by the base's own chat template: a policy to state, and a template."""
        return self._context.config.policy is not None and self._chat is not None

    async def answers(self, asked: Sequence[Asked], share: Share) -> list[Scored]:
        """Return all answers in the order in which they were asked for, one arm after the other."""
        countdown, total, done = Countdown(share.begin), len(asked), 0

        async def answer(question: Asked) -> Scored:
            nonlocal done
            arm, row, sample = question.arm, question.row, question.sample
            got = await self.generate(arm, arm.instruction(row), row.input, sample)
            done += 1
            stage = share.begin + (share.end - share.begin) * done / total
            share.tell(
                done / total,
                remaining_seconds=countdown.remaining_seconds(stage, 1.0),
                metrics={"answers": done, "answers_total": total},
            )
            return Scored(arm, row, got.text, got.truncated, sample=sample)

        found: list[Scored] = []
        for name in dict.fromkeys(question.arm.name for question in asked):
            found += await together(answer(q) for q in asked if q.arm.name == name)
        return found

    async def generate(self, arm: Arm, instruction: str, input_text: str, sample: int) -> Generated:
        """Return the program in an arm's answer; a prompt without room for one has a truncated answer of no cost."""
        spec = self._context.config.spec
        asked = self._chat if arm.template is PromptTemplate.CHAT and self._chat else self._vocabulary
        prompt = asked.prompt(instruction, input_text)
        allowed = min(spec.evaluation.max_new_tokens, self._longest - len(prompt))
        if allowed <= 0:
            return Generated("", truncated=True)
        async with self._slots:
            got = await self._engine.generate(
                arm.model, prompt, max_tokens=allowed, stops=asked.stops,
                seed=(spec.training.seed + sample) % 2**31,
                temperature=float(spec.evaluation.temperature) if sample else 0.0,
            )  # fmt: skip
        return replace(got, text=program_in(got.text) if isinstance(asked, Chat) else unfenced(got.text))
