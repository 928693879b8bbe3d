"""Asks the verifier about answers, as the model wrote them and as they would be served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from loraform_api.verification import HousePolicy, IntentSpec, Program, ProgramVerdict, Stage, Toolchain, VerifyRequest
from loraform_trainer.evaluate.arms import Row, Scored
from loraform_trainer.evaluate.toolchain import lacks
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import InvalidConfigError, StageError, TransientError
from loraform_verifier.http.blocking import VerifierRefused, VerifierUnavailable
from loraform_verifier.http.client import VerifierClient

VERIFY_CHUNK = 500
"""Programs in one request to the verifier: enough to fill its batches, few enough to show progress."""

Told = Callable[[float], None]
"""Takes how much of a piece of work is done, from 0 to 1."""


@dataclass(frozen=True)
class Question:
    """What the verifier is asked about one text; equal questions are asked once."""

    text: str
    stages: tuple[Stage, ...]
    asked: str = ""
    """What Intent looks for, as JSON; empty: nothing."""
    rego: str | None = None

    @classmethod
    def whole(cls, row: Row, text: str) -> Question:
        """Return all that a row asks of an answer, what was held out included."""
        return cls(text, row.stages, "" if row.asked is None else row.asked.model_dump_json(), row.rego)

    def program(self, id_: str) -> Program:
        asked = IntentSpec.model_validate_json(self.asked) if self.asked else None
        return Program(id=id_, text=self.text, asked=asked, rego=self.rego)


class Judge:
    """The verifier with a run's policy."""

    def __init__(self, context: Context, verifier: VerifierClient) -> None:
        self._context = context
        self._verifier = verifier
        self.toolchain = Toolchain(terraform="none")
        """What judged last."""

    @property
    def rewrites(self) -> bool:
        """What is served differs from what the model wrote."""
        return self._context.config.policy is not None

    async def check_toolchain(self) -> None:
        """Raise InvalidConfigError unless the verifier has what the spec asks for."""
        await self._ask([], (Stage.PARSE,), rewrite=False)
        if lacking := lacks(self._context.config.spec.evaluation.toolchain, self.toolchain):
            raise InvalidConfigError(
                f"spec.evaluation.toolchain: {lacking}; change it, or the profile's verifier image"
            )

    async def judge(self, answered: Sequence[Scored], told: Told) -> list[Scored]:
        """Return the answers with their verdicts. Drawn answers are judged raw alone."""
        whole = [s for s in answered if not s.truncated]
        raw = await self.verdicts((_question(s) for s in whole), rewrite=False, told=lambda part: told(part / 2))
        served = raw
        if self.rewrites:
            greedy = (_question(s) for s in whole if not s.sample)
            served = await self.verdicts(greedy, rewrite=True, told=lambda part: told(0.5 + part / 2))
        return [
            s if s.truncated else replace(s, raw=raw[_question(s)], served=served.get(_question(s))) for s in answered
        ]

    async def verdicts(
        self, questions: Iterable[Question], *, rewrite: bool, told: Told
    ) -> dict[Question, ProgramVerdict]:
        """Return a verdict for each question; raises TransientError or StageError without an answer."""
        different = list(dict.fromkeys(questions))
        found: dict[Question, ProgramVerdict] = {}
        for stages in dict.fromkeys(question.stages for question in different):
            same = [q for q in different if q.stages == stages]
            for start in range(0, len(same), VERIFY_CHUNK):
                chunk = same[start : start + VERIFY_CHUNK]
                found.update(zip(chunk, await self._ask(chunk, stages, rewrite), strict=True))
                told(len(found) / len(different))
        return found

    async def _ask(self, questions: list[Question], stages: Sequence[Stage], rewrite: bool) -> list[ProgramVerdict]:
        programs = [question.program(str(i)) for i, question in enumerate(questions)]
        policy = self._context.config.policy or HousePolicy()  # without one, stage Policy has nothing to ask
        request = VerifyRequest(programs=programs, stages=list(stages), policy=policy, rewrite=rewrite)
        try:
            response = await self._verifier.verify(request)
        except VerifierUnavailable as error:
            raise TransientError(str(error)) from error
        except VerifierRefused as error:
            raise StageError(str(error)) from error
        self.toolchain = response.toolchain
        by_id = {verdict.id: verdict for verdict in response.verdicts}
        return [by_id[program.id] for program in programs]


def _question(scored: Scored) -> Question:
    return Question.whole(scored.row, scored.text)
