"""Measures Reflexion (repair of answers from diagnostics) on suite rows, and best-of-n with as many tokens.

Until every candidate is chosen, the verifier is called without a row's intent and Rego, as in serving; then the chosen
candidates are verified with all stages. A candidate is a program as it would be served. A truncated first answer is
not repaired; a truncated repair or sample counts as failed, and its tokens count.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from loraform_api.reflexion import BestOfN, Gain, Reflexion, ReflexionRound
from loraform_api.statistics import Pairs, lower_bound, upper_bound
from loraform_engine.tasks import run_concurrently
from loraform_trainer.evaluate.answer_verifier import AnswerVerifier, ProgramCheck, ReportProgress
from loraform_trainer.evaluate.answers import GeneratedAnswer
from loraform_trainer.evaluate.arms import Arm, EvaluationRow, ScoredAnswer, effect
from loraform_verifier import reflexion
from loraform_verifier.reflexion import Candidate, RepairHistory

Generate = Callable[[Arm, str, str, int], Awaitable[GeneratedAnswer]]
"""Generates an arm's answer from instruction, input and sample number (0: the greedy answer)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A repair or sampled answer, with its program as served; the latter is None for a truncated answer."""

    answer: GeneratedAnswer
    candidate: Candidate | None


@dataclass(slots=True)
class RowRepairs:
    """First answer, repairs and sampled answers of one row."""

    first: ScoredAnswer
    course: RepairHistory
    repairs: list[Attempt] = field(default_factory=list)
    samples: list[Attempt] = field(default_factory=list)
    outcomes: dict[str, bool] = field(default_factory=dict)
    """For each chosen text, True if it passes every stage."""

    @property
    def repair_tokens(self) -> int:
        """Tokens of all repairs."""
        return sum(attempt.answer.tokens for attempt in self.repairs)

    def best(self, rounds: int) -> Candidate:
        """Return the best candidate, in served form, after at most `rounds` repairs."""
        return self.course.best[min(rounds, len(self.course.best) - 1)]

    @property
    def best_sample(self) -> Candidate:
        """The best of first and sampled answers, by verdicts without Intent; the earliest among equals."""
        candidates = [self.course.best[0], *(a.candidate for a in self.samples if a.candidate)]
        return max(candidates, key=lambda candidate: candidate.score)

    def passed(self, candidate: Candidate) -> bool:
        """Return True if a chosen candidate passes every stage."""
        return self.outcomes[candidate.text]


class ReflexionRun:
    """Repairs all rows in rounds: the engine answers every open row, then one call verifies all answers."""

    def __init__(
        self, generate: Generate, verifier: AnswerVerifier, rounds: int, report_progress: ReportProgress
    ) -> None:
        self._generate = generate
        self._verifier = verifier
        self._rounds = rounds
        self._report_progress = report_progress
        self._steps_started = 0

    async def measure(self, first: Sequence[ScoredAnswer]) -> list[RowRepairs]:
        """Return a history for each verified greedy answer of `first` that is not truncated."""
        complete = [s for s in first if not s.truncated]
        candidates = await self._candidates([(s, s.text) for s in complete])
        histories = [RowRepairs(s, reflexion.begin(c)) for s, c in zip(complete, candidates, strict=True)]
        for _ in range(self._rounds):
            await self._repair_round([history for history in histories if history.course.can_continue(self._rounds)])
        await self._sample(histories)
        await self._verify_chosen(histories)
        return histories

    async def _repair_round(self, histories: Sequence[RowRepairs]) -> None:
        answers = await self._answers(self._repair(history) for history in histories)
        for history, attempt in await self._attempts(list(zip(histories, answers, strict=True))):
            history.repairs.append(attempt)
            history.course = history.course.after(attempt.candidate)

    async def _repair(self, history: RowRepairs) -> list[GeneratedAnswer]:
        row, arm = history.first.row, history.first.arm
        repair_input = reflexion.repair_input(row.input, history.course.best[-1])
        return [await self._generate(arm, arm.instruction(row), repair_input, 0)]

    async def _sample(self, histories: Sequence[RowRepairs]) -> None:
        answers = await self._answers(self._samples(history) for history in histories)
        for history, attempt in await self._attempts(list(zip(histories, answers, strict=True))):
            history.samples.append(attempt)

    async def _samples(self, history: RowRepairs) -> list[GeneratedAnswer]:
        row, arm = history.first.row, history.first.arm
        samples: list[GeneratedAnswer] = []
        while sum(answer.tokens for answer in samples) < history.repair_tokens:
            samples.append(await self._generate(arm, arm.instruction(row), row.input, len(samples) + 1))
        return samples

    async def _answers(self, generations: Iterable[Awaitable[list[GeneratedAnswer]]]) -> list[list[GeneratedAnswer]]:
        report_progress, pending = self._next_step(), list(generations)
        done = 0

        async def counted(generation: Awaitable[list[GeneratedAnswer]]) -> list[GeneratedAnswer]:
            nonlocal done
            answers = await generation
            done += 1
            report_progress(done / len(pending))
            return answers

        return await run_concurrently(counted(generation) for generation in pending)

    async def _attempts(
        self, answered: Sequence[tuple[RowRepairs, list[GeneratedAnswer]]]
    ) -> list[tuple[RowRepairs, Attempt]]:
        flat = [(history, answer) for history, answers in answered for answer in answers]
        complete = [(history.first, answer.text) for history, answer in flat if not answer.truncated]
        candidates = iter(await self._candidates(complete))
        return [(history, Attempt(a, None if a.truncated else next(candidates))) for history, a in flat]

    async def _candidates(self, answers: Sequence[tuple[ScoredAnswer, str]]) -> list[Candidate]:
        """Return the programs as they would be served, verified without Intent."""
        checks = [
            ProgramCheck(text, tuple(reflexion.visible_stages(first.row.stages)), prompt=first.row.prompt)
            for first, text in answers
        ]
        rewrite, report_progress = self._verifier.rewrites, self._next_step()
        verdicts = await self._verifier.verdicts(checks, rewrite=rewrite, report_progress=report_progress)
        return [Candidate.served(check.text, verdicts[check]) for check in checks]

    async def _verify_chosen(self, histories: Sequence[RowRepairs]) -> None:
        """Verify all chosen candidates with all stages. They are programs as served, so they are not rewritten."""
        checks = {
            (index, candidate.text): ProgramCheck.of_row(history.first.row, candidate.text)
            for index, history in enumerate(histories)
            for candidate in (*history.course.best, history.best_sample)
            if candidate.text != history.course.best[0].text
        }
        report_progress = self._next_step()
        verdicts = await self._verifier.verdicts(checks.values(), rewrite=False, report_progress=report_progress)
        for history in histories:
            served = history.first.served
            history.outcomes[history.course.best[0].text] = served is not None and served.passed
        for (index, text), check in checks.items():
            histories[index].outcomes[text] = verdicts[check].passed

    def _next_step(self) -> ReportProgress:
        """Return the progress callback of the next step: two for each round, two for best-of-n, and first and last."""
        index, steps = self._steps_started, 2 * self._rounds + 4
        self._steps_started += 1
        return lambda done: self._report_progress((index + done) / steps)


def summary(histories: Sequence[RowRepairs], rows: int, rounds: int) -> Reflexion:
    """Return the figures over `rows` rows, which include those with a truncated first answer; they failed."""
    after = [[history.passed(history.best(number)) for history in histories] for number in range(rounds + 1)]
    best_of_n = [history.passed(history.best_sample) for history in histories]
    repaired_rows = [history.first.row for history in histories]
    sample_tokens = [attempt.answer.tokens for history in histories for attempt in history.samples]
    return Reflexion(
        rows=rows,
        rounds=[_round(histories, number, passed) for number, passed in enumerate(after)],
        gain=gain(repaired_rows, after[0], after[-1], rows),
        best_of_n=BestOfN(passed=sum(best_of_n), answers=len(sample_tokens), tokens=sum(sample_tokens)),
        over_best_of_n=gain(repaired_rows, best_of_n, after[-1], rows),
    )


def _round(histories: Sequence[RowRepairs], number: int, passed: Sequence[bool]) -> ReflexionRound:
    tokens = [h.repairs[number - 1].answer.tokens for h in histories if 0 < number <= len(h.repairs)]
    return ReflexionRound(round=number, passed=sum(passed), repaired=len(tokens), tokens=sum(tokens))


def gain(compared_rows: Sequence[EvaluationRow], before: Sequence[bool], after: Sequence[bool], rows: int) -> Gain:
    """Return the paired difference; the rows of `rows` that are not in `compared_rows` failed both before and after."""
    discordant = [(row, a - b) for row, b, a in zip(compared_rows, before, after, strict=True) if a != b]
    nets = [net for _, net in discordant]
    pairs = Pairs(rows, nets.count(1), nets.count(-1), effect(discordant))
    low, high = lower_bound(pairs), upper_bound(pairs)
    return Gain(gained=pairs.gained, lost=pairs.lost, low=f"{low:.4f}", high=f"{high:.4f}")


def records(histories: Sequence[RowRepairs]) -> Iterator[dict[str, object]]:
    """Yield the lines of the Reflexion file: one for each repaired row."""
    for history in histories:
        if history.repairs:
            yield {
                "id": history.first.row.id,
                "suite": history.first.row.suite,
                "first": _candidate(history, history.course.best[0]),
                "repairs": [_attempt(history, attempt) for attempt in history.repairs],
                "best": _candidate(history, history.course.best[-1]),
                "drawn": [_attempt(history, attempt) for attempt in history.samples],
                "bestOfN": _candidate(history, history.best_sample),
            }


def _attempt(history: RowRepairs, attempt: Attempt) -> dict[str, object]:
    answer = attempt.answer
    cost: dict[str, object] = {"tokens": answer.tokens, "truncated": answer.truncated}
    return cost | ({"text": answer.text} if attempt.candidate is None else _candidate(history, attempt.candidate))


def _candidate(history: RowRepairs, candidate: Candidate) -> dict[str, object]:
    """Return a program as served: `passed` of all stages (None unless it was chosen), `verdict` without Intent."""
    verdict = candidate.verdict.model_dump(mode="json", by_alias=True, exclude={"id", "rewritten", "rewritten_files"})
    return {"text": candidate.text, "passed": history.outcomes.get(candidate.text), "verdict": verdict}
