"""Reflexion as the gateway serves it, measured on held-out rows, with best-of-n for as many tokens beside it.

The course sees neither what a row asks for nor its Rego: requests to the verifier on the way are made without them, and
only when every candidate is chosen are the chosen ones judged whole. A candidate is a program as it would be served. A
truncated first answer has nothing whole to repair and is left alone; a truncated repair or draw is a failed one that
cost its tokens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from loraform_api.finetunejob_status import BestOfN, Gain, Reflexion, ReflexionRound
from loraform_api.statistics import Pairs, lower_bound, upper_bound
from loraform_trainer.evaluate.arms import Arm, Row, Scored, effect
from loraform_trainer.evaluate.engine import Generated, together
from loraform_trainer.evaluate.judging import Judge, Question, Told
from loraform_verifier import reflexion
from loraform_verifier.reflexion import Candidate, RepairHistory

Generate = Callable[[Arm, str, str, int], Awaitable[Generated]]
"""Asks an arm for an answer: instruction, input, and which drawn answer it is (0: the greedy one)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One more answer to a row, and what it is as a program; none when it was cut off."""

    answer: Generated
    candidate: Candidate | None


@dataclass(slots=True)
class Trail:
    """All that was done for one row whose first answer was whole."""

    first: Scored
    course: RepairHistory
    repairs: list[Attempt] = field(default_factory=list)
    drawn: list[Attempt] = field(default_factory=list)
    outcomes: dict[str, bool] = field(default_factory=dict)
    """Whether a text passes every stage, for the texts that were chosen."""

    @property
    def spent(self) -> int:
        """Tokens of the repairs."""
        return sum(attempt.answer.tokens for attempt in self.repairs)

    def best(self, rounds: int) -> Candidate:
        """Return what is served after at most `rounds` repairs."""
        return self.course.best[min(rounds, len(self.course.best) - 1)]

    @property
    def drawn_best(self) -> Candidate:
        """The best of first and drawn answers by what the course may know; among equals the earliest."""
        candidates = [self.course.best[0], *(a.candidate for a in self.drawn if a.candidate)]
        return max(candidates, key=lambda candidate: candidate.score)

    def passed(self, candidate: Candidate) -> bool:
        return self.outcomes[candidate.text]


class Measurement:
    """Takes the rows through their rounds: in each the engine is asked for every open row, then the verifier once."""

    def __init__(self, generate: Generate, judge: Judge, rounds: int, told: Told) -> None:
        self._generate = generate
        self._judge = judge
        self._rounds = rounds
        self._told = told
        self._begun = 0

    async def run(self, first: Sequence[Scored]) -> list[Trail]:
        """Return the trails of the rows whose first answer was whole; `first` are greedy answers, judged."""
        whole = [s for s in first if not s.truncated]
        candidates = await self._candidates([(s, s.text) for s in whole])
        trails = [Trail(s, reflexion.begin(c)) for s, c in zip(whole, candidates, strict=True)]
        for _ in range(self._rounds):
            await self._round([trail for trail in trails if trail.course.can_continue(self._rounds)])
        await self._draw(trails)
        await self._judge_chosen(trails)
        return trails

    async def _round(self, trails: Sequence[Trail]) -> None:
        answers = await self._answers(self._repair(trail) for trail in trails)
        attempts = await self._attempts([(t, answer) for t, answer in zip(trails, answers, strict=True)])
        for trail, attempt in attempts:
            trail.repairs.append(attempt)
            trail.course = trail.course.after(attempt.candidate)

    async def _repair(self, trail: Trail) -> list[Generated]:
        row, arm = trail.first.row, trail.first.arm
        given = reflexion.repair_input(row.input, trail.course.best[-1])
        return [await self._generate(arm, arm.instruction(row), given, 0)]

    async def _draw(self, trails: Sequence[Trail]) -> None:
        answers = await self._answers(self._samples(trail) for trail in trails)
        for trail, attempt in await self._attempts(list(zip(trails, answers, strict=True))):
            trail.drawn.append(attempt)

    async def _samples(self, trail: Trail) -> list[Generated]:
        row, arm = trail.first.row, trail.first.arm
        drawn: list[Generated] = []
        while sum(answer.tokens for answer in drawn) < trail.spent:
            drawn.append(await self._generate(arm, arm.instruction(row), row.input, len(drawn) + 1))
        return drawn

    async def _answers(self, questions: Iterable[Awaitable[list[Generated]]]) -> list[list[Generated]]:
        told, waiting = self._step(), list(questions)
        done = 0

        async def counted(question: Awaitable[list[Generated]]) -> list[Generated]:
            nonlocal done
            found = await question
            done += 1
            told(done / len(waiting))
            return found

        return await together(counted(question) for question in waiting)

    async def _attempts(self, answered: Sequence[tuple[Trail, list[Generated]]]) -> list[tuple[Trail, Attempt]]:
        flat = [(trail, answer) for trail, answers in answered for answer in answers]
        whole = [(trail.first, answer.text) for trail, answer in flat if not answer.truncated]
        candidates = iter(await self._candidates(whole))
        return [(trail, Attempt(a, None if a.truncated else next(candidates))) for trail, a in flat]

    async def _candidates(self, answers: Sequence[tuple[Scored, str]]) -> list[Candidate]:
        """Return the programs as they would be served, judged by what the course may know."""
        questions = [Question(text, tuple(reflexion.visible_stages(first.row.stages))) for first, text in answers]
        verdicts = await self._judge.verdicts(questions, rewrite=self._judge.rewrites, told=self._step())
        return [Candidate.served(question.text, verdicts[question]) for question in questions]

    async def _judge_chosen(self, trails: Sequence[Trail]) -> None:
        """Ask once for all stages of all that was chosen. What is served is judged as it is, not rewritten again."""
        asked = {
            (index, candidate.text): Question.whole(trail.first.row, candidate.text)
            for index, trail in enumerate(trails)
            for candidate in (*trail.course.best, trail.drawn_best)
            if candidate.text != trail.course.best[0].text
        }
        verdicts = await self._judge.verdicts(asked.values(), rewrite=False, told=self._step())
        for trail in trails:
            served = trail.first.served
            trail.outcomes[trail.course.best[0].text] = served is not None and served.passed
        for (index, text), question in asked.items():
            trails[index].outcomes[text] = verdicts[question].passed

    def _step(self) -> Told:
        """Begin the next step; there are two for each round, two for best-of-n, and one at either end."""
        begun, steps = self._begun, 2 * self._rounds + 4
        self._begun += 1
        return lambda part: self._told((begun + part) / steps)


def summary(trails: Sequence[Trail], rows: int, rounds: int) -> Reflexion:
    """Return the figures; `rows` counts those with a truncated first answer too, which failed."""
    after = [[trail.passed(trail.best(number)) for trail in trails] for number in range(rounds + 1)]
    best_of_n = [trail.passed(trail.drawn_best) for trail in trails]
    asked = [trail.first.row for trail in trails]
    drawn = [attempt.answer.tokens for trail in trails for attempt in trail.drawn]
    return Reflexion(
        rows=rows,
        rounds=[_round(trails, number, passed) for number, passed in enumerate(after)],
        gain=gain(asked, after[0], after[-1], rows),
        best_of_n=BestOfN(passed=sum(best_of_n), answers=len(drawn), tokens=sum(drawn)),
        over_best_of_n=gain(asked, best_of_n, after[-1], rows),
    )


def _round(trails: Sequence[Trail], number: int, passed: Sequence[bool]) -> ReflexionRound:
    asked = [t.repairs[number - 1].answer.tokens for t in trails if 0 < number <= len(t.repairs)]
    return ReflexionRound(round=number, passed=sum(passed), repaired=len(asked), tokens=sum(asked))


def gain(asked: Sequence[Row], before: Sequence[bool], after: Sequence[bool], rows: int) -> Gain:
    """Return the paired difference; of `rows`, those that are not `asked` failed both ways."""
    discordant = [(row, a - b) for row, b, a in zip(asked, before, after, strict=True) if a != b]
    nets = [net for _, net in discordant]
    pairs = Pairs(rows, nets.count(1), nets.count(-1), effect(discordant))
    low, high = lower_bound(pairs), upper_bound(pairs)
    return Gain(gained=pairs.gained, lost=pairs.lost, low=f"{low:.4f}", high=f"{high:.4f}")


def records(trails: Sequence[Trail]) -> Iterator[dict[str, object]]:
    """Yield a line for each row that was repaired, for anyone to check."""
    for trail in trails:
        if trail.repairs:
            yield {
                "id": trail.first.row.id,
                "suite": trail.first.row.suite,
                "first": _candidate(trail, trail.course.best[0]),
                "repairs": [_attempt(trail, attempt) for attempt in trail.repairs],
                "best": _candidate(trail, trail.course.best[-1]),
                "drawn": [_attempt(trail, attempt) for attempt in trail.drawn],
                "bestOfN": _candidate(trail, trail.drawn_best),
            }


def _attempt(trail: Trail, attempt: Attempt) -> dict[str, object]:
    answer = attempt.answer
    cost: dict[str, object] = {"tokens": answer.tokens, "truncated": answer.truncated}
    return cost | ({"text": answer.text} if attempt.candidate is None else _candidate(trail, attempt.candidate))


def _candidate(trail: Trail, candidate: Candidate) -> dict[str, object]:
    """Return the program as served; `passed` of every stage where it was chosen, `verdict` of those without Intent."""
    verdict = candidate.verdict.model_dump(mode="json", by_alias=True, exclude={"id", "rewritten", "rewritten_files"})
    return {"text": candidate.text, "passed": trail.outcomes.get(candidate.text), "verdict": verdict}
