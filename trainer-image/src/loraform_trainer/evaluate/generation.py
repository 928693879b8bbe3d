"""Generates answers with the engine, and loads adapters whose parity is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from loraform_api.finetunejob import EvaluationSpec
from loraform_api.finetunejob_status import ArmName
from loraform_api.meta import PromptTemplate
from loraform_engine import chat
from loraform_engine.chat import Chat
from loraform_engine.client import Engine, completion
from loraform_engine.program import THOUGHT, program_in
from loraform_engine.proof import AdapterFiles, load_and_prove
from loraform_engine.sampling import Sampling
from loraform_engine.tasks import run_concurrently
from loraform_trainer.evaluate.answers import AnswerJournal, EngineIdentity, GeneratedAnswer, answer_key
from loraform_trainer.evaluate.arms import Arm, EvaluationRow, ScoredAnswer
from loraform_trainer.evaluate.stage_progress import PartialProgress
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import DatasetInvalidError
from loraform_trainer.runtime.files import read_jsonl
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.runtime.progress import Countdown

CONCURRENCY = 32


class Adapters:
    """The adapters in the engine; each is loaded once, and its parity with the trainer is checked."""

    def __init__(self, engine: Engine, template_hash: str, merged: str | None = None) -> None:
        """`merged` is the digest of the adapter that is merged into the engine's own model; None if none is."""
        self._engine = engine
        self._template_hash = template_hash
        self._merged = merged
        self._differences: dict[str, float] = {}

    async def load(self, digest: str, folder: Path) -> float:
        """Load and prove the adapter in `folder` once; return the largest difference of a log-probability.

        Raises as `load_and_prove`.
        """
        if digest not in self._differences:
            files = AdapterFiles(digest, folder, self._template_hash, merged=digest == self._merged)
            self._differences[digest] = (await load_and_prove(self._engine, files)).max_difference
        return self._differences[digest]


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to generate."""

    arm: Arm
    row: EvaluationRow
    sample: int = 0
    """0 for the greedy answer; sampled answers are numbered from 1."""


def sampled_arms(compared: Sequence[Arm]) -> set[ArmName]:
    """Return the arms with sampled answers for pass@k: the candidate and its reference."""
    live = any(arm.name is ArmName.LIVE for arm in compared)
    return {ArmName.CANDIDATE, ArmName.LIVE if live else ArmName.BASE}


def generation_requests(
    compared: Sequence[Arm], rows: Sequence[EvaluationRow], spec: EvaluationSpec
) -> list[GenerationRequest]:
    """Return the greedy request for each row and arm, and the sampled requests for pass@k."""
    with_samples = sampled_arms(compared)
    samples = range(1, spec.samples_per_prompt + 1) if spec.samples_per_prompt > 1 else ()
    return [
        GenerationRequest(arm, row, sample)
        for arm in compared
        for row in rows
        for sample in (0, *(samples if arm.name in with_samples else ()))
    ]


def suite_rows(paths: Paths) -> list[EvaluationRow]:
    """Return the suites' rows that stage prepare wrote; raises DatasetInvalidError if there are none."""
    rows = [EvaluationRow.from_json(row) for row in read_jsonl(paths.suite_rows)]
    if not rows:
        raise DatasetInvalidError("spec.evaluation.suites: the suites have no rows")
    return rows


class AnswerGenerator:
    """Generates answers with a run's prompts and limits."""

    def __init__(self, context: Context, engine: Engine, identity: EngineIdentity) -> None:
        self._context = context
        self._engine = engine
        self._identity = identity
        self._journal = AnswerJournal(context.paths.evaluation_answers)
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._vocabulary = tokens.load(context.paths.base)

    @classmethod
    async def of(cls, context: Context, engine: Engine) -> AnswerGenerator:
        """Return the generator for an engine."""
        return cls(context, engine, EngineIdentity(await engine.version(), await engine.max_length()))

    @cached_property
    def _chat(self) -> Chat | None:
        return chat.read(self._context.paths.base, self._vocabulary)

    @property
    def template_hash(self) -> str:
        """Digest of everything that decides the token ids of an adapter's prompts."""
        return self._vocabulary.template_hash

    @property
    def uses_chat_template(self) -> bool:
        """True if an arm uses the base's chat template: there is a policy to state, and a usable template."""
        return self._context.config.policy is not None and self._chat is not None

    async def answers(self, requests: Sequence[GenerationRequest], progress: PartialProgress) -> list[ScoredAnswer]:
        """Return all answers in the order of the requests; one arm is generated after the other."""
        countdown, total, done = Countdown(progress.begin), len(requests), 0

        async def answer(request: GenerationRequest) -> ScoredAnswer:
            nonlocal done
            arm, row, sample = request.arm, request.row, request.sample
            generated = await self.generate(arm, arm.instruction(row), row.input, sample)
            done += 1
            progress.update(
                done / total,
                remaining_seconds=countdown.remaining_seconds(progress.of_stage(done / total), 1.0),
                metrics={"answers": done, "answers_total": total},
            )
            return ScoredAnswer(arm, row, generated.text, generated.truncated, sample=sample)

        answers: list[ScoredAnswer] = []
        for name in dict.fromkeys(request.arm.name for request in requests):
            answers += await run_concurrently(answer(r) for r in requests if r.arm.name == name)
        return answers

    async def generate(self, arm: Arm, instruction: str, input_text: str, sample: int) -> GeneratedAnswer:
        """Return an arm's answer, reduced to its program; empty and truncated if the prompt leaves no token for one."""
        spec = self._context.config.spec
        template = self._chat if arm.template is PromptTemplate.CHAT and self._chat else self._vocabulary
        prompt = template.tokens(instruction, input_text)
        allowed = min(spec.evaluation.max_new_tokens, self._identity.max_length - len(prompt))
        if allowed <= 0:
            return GeneratedAnswer("", truncated=True)
        body = completion(
            arm.model,
            prompt,
            max_tokens=allowed,
            stops=template.ends,
            sampling=Sampling(
                temperature=float(spec.evaluation.temperature) if sample else 0.0,
                seed=(spec.training.seed + sample) % 2**31,
            ),
        )
        generated = await self._complete(arm, body)
        thought = THOUGHT if isinstance(template, Chat) and template.opens_thought else ""
        program = program_in(thought + generated.text, truncated=generated.truncated)
        return replace(generated, text=program.text, truncated=program.truncated)

    async def _complete(self, arm: Arm, body: dict[str, Any]) -> GeneratedAnswer:
        """Return the engine's answer to `body`, or that of an earlier attempt to the same request."""
        key = answer_key(self._identity, arm.digest, body)
        known = self._journal.get(key)
        if known is not None:
            return known
        async with self._slots:
            answer = await self._engine.complete(body)
        choice, tokens_used = answer["choices"][0], len(body["prompt"]) + int(answer["usage"]["completion_tokens"])
        generated = GeneratedAnswer(choice["text"], choice["finish_reason"] == "length", tokens_used)
        self._journal.add(key, generated)
        return generated
