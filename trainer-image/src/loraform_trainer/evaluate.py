"""Stage `evaluate`: parity first, then every arm answers every held-out row, then the verifier judges all answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
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
from loraform_api.verification import HousePolicy, Program, ProgramVerdict, Stage, Toolchain, VerifyRequest
from loraform_trainer import arms, tokens
from loraform_trainer.arms import Arm, Row, Scored
from loraform_trainer.context import Context
from loraform_trainer.engine import TIMEOUT, Engine, wait_until
from loraform_trainer.errors import (
    AdapterNotServableError,
    DatasetInvalidError,
    InvalidConfigError,
    StageError,
    TransientError,
)
from loraform_trainer.evaluation import outcome
from loraform_trainer.evaluation.toolchain import lacks, words
from loraform_trainer.files import read_jsonl, write_jsonl
from loraform_trainer.progress import Countdown
from loraform_trainer.staging import digest_of
from loraform_verifier.client import VerifierClient, VerifierRefused, VerifierUnavailable

CONCURRENCY = 32
VERIFY_CHUNK = 500
"""Programs in one request to the verifier: enough to fill its batches, few enough to show progress."""
GENERATING = 0.8
"""Share of the progress that generation takes."""
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
    candidate = digest_of(paths.adapter)
    live = None if config.live is None else config.live.digest
    async with _sidecars(context) as (engine, verifier):
        judges = _Verification(context, verifier)
        await judges.check_toolchain()
        difference = await _load(context, engine, candidate, live)
        compared = arms.arms(candidate, live, config.policy)
        answered = await _Generation(context, engine, asked(compared, rows, config.spec.evaluation)).answers()
        scored, toolchain = await judges.judge(answered)
    greedy, drawn = ([s for s in scored if bool(s.sample) is kind] for kind in (False, True))
    write_jsonl(paths.evaluation_rows, (_record(s) for s in greedy))
    if drawn:
        write_jsonl(paths.evaluation_samples, (_record(s) for s in drawn))
    by_arm = arms.by_arm(compared, greedy)
    reference = ArmName.BASE if live is None else ArmName.LIVE
    result = EvaluateResult(
        arms=[arms.count(name, answers) for name, answers in by_arm.items()],
        paired=arms.pair(by_arm[reference], by_arm[ArmName.CANDIDATE]),
        live_digest=live,
        parity_max_difference=f"{difference:.3g}",
        toolchain=words(toolchain),
    )
    result = outcome.write(context, result, by_arm, arms.by_arm(compared, drawn))
    passed = ", ".join(f"{a.name} {a.counts[arms.ALL].raw}" for a in result.arms)
    return StageReport(stage=RunStage.EVALUATE, message=f"of {len(rows)} rows passed raw: {passed}", evaluate=result)


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


async def _all(questions: Iterable[Coroutine[None, None, Scored]]) -> list[Scored]:
    """Return all results in order; the first failure stops the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


class _Generation:
    """Asks the engine, many questions at a time, one arm after the other."""

    def __init__(self, context: Context, engine: Engine, asked: Sequence[_Asked]) -> None:
        self._context = context
        self._engine = engine
        self._asked = asked
        self._done = 0
        self._countdown = Countdown(0)
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._vocabulary = tokens.load(context.paths.base)

    async def answers(self) -> list[Scored]:
        """Return all answers, in the order in which they were asked for."""
        longest = await self._engine.max_length()
        found: list[Scored] = []
        for name in dict.fromkeys(question.arm.name for question in self._asked):
            found += await _all(self._answer(q, longest) for q in self._asked if q.arm.name == name)
        return found

    async def _answer(self, asked: _Asked, longest: int) -> Scored:
        spec, arm, row = self._context.config.spec, asked.arm, asked.row
        prompt = self._vocabulary.prompt(arm.instruction(row), row.input)
        allowed = min(spec.evaluation.max_new_tokens, longest - len(prompt))
        scored = Scored(arm, row, "", truncated=True, sample=asked.sample)  # no room for an answer
        if allowed > 0:
            async with self._slots:
                got = await self._engine.generate(
                    arm.model, prompt, max_tokens=allowed, eos=self._vocabulary.eos,
                    seed=(spec.training.seed + asked.sample) % 2**31,
                    temperature=float(spec.evaluation.temperature) if asked.sample else 0.0,
                )  # fmt: skip
            scored = replace(scored, text=unfenced(got.text), truncated=got.truncated)
        self._done += 1
        total = len(self._asked)
        self._context.progress.update(
            GENERATING * self._done / total,
            remaining_seconds=self._countdown.remaining_seconds(self._done, total / GENERATING),
            metrics={"answers": self._done, "answers_total": total},
        )
        return scored


@dataclass(frozen=True)
class _Question:
    """What the verifier is asked about one text; equal questions are asked once."""

    text: str
    asked: str
    rego: str | None
    stages: tuple[Stage, ...]


class _Verification:
    """Asks the verifier about all answers, as the model wrote them and as they would be served."""

    def __init__(self, context: Context, verifier: VerifierClient) -> None:
        self._context = context
        self._verifier = verifier
        self._toolchain = Toolchain(terraform="none")

    async def check_toolchain(self) -> None:
        """Raise InvalidConfigError unless the verifier has what the spec asks for."""
        await self._ask([], (Stage.PARSE,), rewrite=False)
        if lacking := lacks(self._context.config.spec.evaluation.toolchain, self._toolchain):
            raise InvalidConfigError(
                f"spec.evaluation.toolchain: {lacking}; change it, or the profile's verifier image"
            )

    async def judge(self, answered: Sequence[Scored]) -> tuple[list[Scored], Toolchain]:
        """Return the answers with their verdicts, and what judged them. Drawn answers are judged raw alone."""
        whole = [s for s in answered if not s.truncated]
        programs = {_question(s): _program(s) for s in whole}
        raw = await self._verdicts(programs, rewrite=False, share=(GENERATING, 0.9))
        served = raw
        if self._context.config.policy is not None:
            greedy = {_question(s): _program(s) for s in whole if not s.sample}
            served = await self._verdicts(greedy, rewrite=True, share=(0.9, 1.0))
        scored = [
            s if s.truncated else replace(s, raw=raw[_question(s)], served=served.get(_question(s))) for s in answered
        ]
        return scored, self._toolchain

    async def _verdicts(
        self, programs: dict[_Question, Program], *, rewrite: bool, share: tuple[float, float]
    ) -> dict[_Question, ProgramVerdict]:
        found: dict[_Question, ProgramVerdict] = {}
        for stages in dict.fromkeys(question.stages for question in programs):
            questions = [q for q in programs if q.stages == stages]
            for start in range(0, len(questions), VERIFY_CHUNK):
                chunk = questions[start : start + VERIFY_CHUNK]
                verdicts = await self._ask([programs[q] for q in chunk], stages, rewrite)
                found.update(zip(chunk, verdicts, strict=True))
                begin, end = share
                self._context.progress.update(begin + (end - begin) * len(found) / len(programs))
        return found

    async def _ask(self, programs: list[Program], stages: Sequence[Stage], rewrite: bool) -> list[ProgramVerdict]:
        numbered = [program.model_copy(update={"id": str(i)}) for i, program in enumerate(programs)]
        policy = self._context.config.policy or HousePolicy()  # without one, stage Policy has nothing to ask
        request = VerifyRequest(programs=numbered, stages=list(stages), policy=policy, rewrite=rewrite)
        try:
            response = await self._verifier.verify(request)
        except VerifierUnavailable as error:
            raise TransientError(str(error)) from error
        except VerifierRefused as error:
            raise StageError(str(error)) from error
        self._toolchain = response.toolchain
        by_id = {verdict.id: verdict for verdict in response.verdicts}
        return [by_id[program.id] for program in numbered]


def _question(scored: Scored) -> _Question:
    asked = "" if scored.row.asked is None else scored.row.asked.model_dump_json()
    return _Question(scored.text, asked, scored.row.rego, scored.row.stages)


def _program(scored: Scored) -> Program:
    return Program(id="?", text=scored.text, asked=scored.row.asked, rego=scored.row.rego)


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
