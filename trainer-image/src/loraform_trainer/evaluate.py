"""Stage `evaluate`: parity first, then every arm answers every held-out row, then the verifier judges all answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp

from loraform_api.artifact import PARITY_FILE
from loraform_api.finetunejob import EvaluationSpec
from loraform_api.finetunejob_status import ArmName
from loraform_api.heartbeat import adapter_name
from loraform_api.names import RunStage
from loraform_api.parity import ParityFile
from loraform_api.prompt import unfenced
from loraform_api.run import EvaluateResult, StageReport
from loraform_api.verification import Toolchain
from loraform_trainer import arms, tokens
from loraform_trainer.arms import Arm, Row, Scored
from loraform_trainer.context import Context
from loraform_trainer.engine import TIMEOUT, Engine, Generated, together, wait_until
from loraform_trainer.errors import AdapterNotServableError, DatasetInvalidError
from loraform_trainer.evaluation import outcome, reflexion
from loraform_trainer.evaluation.toolchain import words
from loraform_trainer.files import read_jsonl, write_jsonl
from loraform_trainer.judging import Judge
from loraform_trainer.progress import Countdown
from loraform_trainer.staging import digest_of
from loraform_verifier.client import VerifierClient

CONCURRENCY = 32
GENERATING = 0.8
"""Share of the arms' progress that generation takes."""
ARMS = 0.7
"""Share of the progress that the arms take where Reflexion follows."""
SAMPLED = (ArmName.BASE, ArmName.CANDIDATE)
"""Arms that draw answers for pass@k: what training began with, and what it made."""


def run(context: Context) -> StageReport:
    """Measure the candidate; raises StageError, AdapterNotServableError among them."""
    return asyncio.run(measure(context))


async def measure(context: Context) -> StageReport:
    """As `run`, inside an event loop."""
    config, paths = context.config, context.paths
    rows = [Row.from_json(row) for row in read_jsonl(paths.suite_rows)]
    if not rows:
        raise DatasetInvalidError("spec.evaluation.suites: the suites have no rows")
    live = None if config.live is None else config.live.digest
    candidate = digest_of(paths.adapter)
    compared = arms.arms(candidate, live, config.policy)
    found = await _find(context, candidate, compared, rows)
    greedy, drawn = ([s for s in found.scored if bool(s.sample) is kind] for kind in (False, True))
    write_jsonl(paths.evaluation_rows, (_record(s) for s in greedy))
    if drawn:
        write_jsonl(paths.evaluation_samples, (_record(s) for s in drawn))
    by_arm = arms.by_arm(compared, greedy)
    reference = ArmName.BASE if live is None else ArmName.LIVE
    result = EvaluateResult(
        arms=[arms.count(name, answers) for name, answers in by_arm.items()],
        paired=arms.pair(by_arm[reference], by_arm[ArmName.CANDIDATE]),
        live_digest=live,
        parity_max_difference=f"{found.parity_difference:.3g}",
        toolchain=words(found.toolchain),
    )
    if rounds := config.spec.evaluation.reflexion_rounds:
        write_jsonl(paths.evaluation_reflexion, reflexion.records(found.trails))
        figures = reflexion.summary(found.trails, len(rows), rounds)
        result = result.model_copy(update={"reflexion": figures})
    result = outcome.write(context, result, by_arm, arms.by_arm(compared, drawn))
    passed = ", ".join(f"{a.name} {a.counts[arms.ALL].raw}" for a in result.arms)
    return StageReport(stage=RunStage.EVALUATE, message=f"of {len(rows)} rows passed raw: {passed}", evaluate=result)


@dataclass(frozen=True)
class _Found:
    """What engine and verifier said."""

    parity_difference: float
    scored: list[Scored]
    trails: list[reflexion.Trail]
    toolchain: Toolchain


async def _find(context: Context, candidate: str, compared: Sequence[Arm], rows: Sequence[Row]) -> _Found:
    spec, live = context.config.spec.evaluation, context.config.live
    share = ARMS if spec.reflexion_rounds else 1.0
    async with _sidecars(context) as (engine, verifier):
        judge = Judge(context, verifier)
        await judge.check_toolchain()
        difference = await _load(context, engine, candidate, None if live is None else live.digest)
        generation = _Generation(context, engine, await engine.max_length())
        answered = await generation.answers(asked(compared, rows, spec), GENERATING * share)
        scored = await judge.judge(answered, _part(context, GENERATING * share, share))
        trails: list[reflexion.Trail] = []
        if spec.reflexion_rounds:
            first = [s for s in scored if s.arm.name is ArmName.CANDIDATE and not s.sample]
            told = _part(context, share, 1.0)
            repairing = reflexion.Measurement(generation.generate, judge, spec.reflexion_rounds, told)
            trails = await repairing.run(first)
    return _Found(difference, scored, trails, judge.toolchain)


def _part(context: Context, begin: float, end: float) -> Callable[[float], None]:
    """Return what is told how far a part of the stage is, which goes from `begin` to `end` of all progress."""
    return lambda done: context.progress.update(begin + (end - begin) * done)


@dataclass(frozen=True)
class _Asked:
    """One question to the engine."""

    arm: Arm
    row: Row
    sample: int = 0
    """0 for the greedy answer."""


def asked(compared: Sequence[Arm], rows: Sequence[Row], spec: EvaluationSpec) -> list[_Asked]:
    """Return what the engine is asked: each row of each arm greedily, and what is drawn for pass@k."""
    drawn = range(1, spec.samples_per_prompt + 1) if spec.samples_per_prompt > 1 else ()
    return [
        _Asked(arm, row, sample)
        for arm in compared
        for row in rows
        for sample in (0, *(drawn if arm.name in SAMPLED else ()))
    ]


@asynccontextmanager
async def _sidecars(context: Context) -> AsyncIterator[tuple[Engine, VerifierClient]]:
    connector = aiohttp.TCPConnector(limit=2 * CONCURRENCY)
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT, connector=connector) as session,
        VerifierClient(context.verifier_url) as verifier,
    ):
        engine = Engine(session, context.engine_url)
        await wait_until(verifier.healthy, "the verifier", context.sidecar_wait_seconds)
        await wait_until(engine.healthy, "the engine", context.sidecar_wait_seconds)
        yield engine, verifier


async def _load(context: Context, engine: Engine, candidate: str, live: str | None) -> float:
    """Load the adapters and prove that each is what was trained; return the candidate's largest difference."""
    difference = 0.0
    folders = {candidate: context.paths.adapter}
    if live is not None:
        folders.setdefault(live, context.paths.live)
    for digest, folder in folders.items():
        name = adapter_name(digest)
        await engine.load(name, folder)
        file = ParityFile.model_validate_json((folder / PARITY_FILE).read_text(encoding="utf-8"))
        result = await engine.parity(name, file)
        if not result.passed:
            raise AdapterNotServableError(f"{name}: {result.message}")
        if digest == candidate:
            difference = result.max_difference
    return difference


class _Generation:
    """Asks the engine, many questions at a time."""

    def __init__(self, context: Context, engine: Engine, longest: int) -> None:
        self._context = context
        self._engine = engine
        self._longest = longest
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._vocabulary = tokens.load(context.paths.base)

    async def answers(self, asked: Sequence[_Asked], share: float) -> list[Scored]:
        """Return all answers in the order in which they were asked for, one arm after the other.

        It is `share` of the stage's work.
        """
        countdown, total, done = Countdown(0), len(asked), 0

        async def answer(question: _Asked) -> Scored:
            nonlocal done
            arm, row, sample = question.arm, question.row, question.sample
            got = await self.generate(arm, arm.instruction(row), row.input, sample)
            done += 1
            self._context.progress.update(
                share * done / total,
                remaining_seconds=countdown.remaining_seconds(done, total / share),
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
        prompt = self._vocabulary.prompt(instruction, input_text)
        allowed = min(spec.evaluation.max_new_tokens, self._longest - len(prompt))
        if allowed <= 0:
            return Generated("", truncated=True)
        async with self._slots:
            got = await self._engine.generate(
                arm.model, prompt, max_tokens=allowed, eos=self._vocabulary.eos,
                seed=(spec.training.seed + sample) % 2**31,
                temperature=float(spec.evaluation.temperature) if sample else 0.0,
            )  # fmt: skip
        return replace(got, text=unfenced(got.text))


def _record(scored: Scored) -> dict[str, object]:
    row = scored.row
    return {
        "id": row.id,
        "suite": row.suite,
        "arm": str(scored.arm.name),
        "adapterDigest": scored.arm.digest,
        "sample": scored.sample,
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
