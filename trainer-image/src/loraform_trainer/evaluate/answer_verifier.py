"""Verifies answers, as the model wrote them (raw) and as they would be served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from loraform_api.verification import (
    HousePolicy,
    IntentSpec,
    Program,
    ProgramVerdict,
    Stage,
    Toolchain,
    VerifyRequest,
    requests_of,
)
from loraform_trainer.evaluate.arms import EvaluationRow, ScoredAnswer
from loraform_trainer.evaluate.toolchain import unmet_requirement
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import InvalidConfigError
from loraform_verifier.http.client import VerifierClient

VERIFY_CHUNK = 500
"""Programs per request: enough to fill the verifier's batches, few enough to report progress."""

ReportProgress = Callable[[float], None]
"""Progress callback; its argument is the completed share, from 0 to 1."""


@dataclass(frozen=True)
class ProgramCheck:
    """One program to verify, with its stages; equal checks are sent once."""

    text: str
    stages: tuple[Stage, ...]
    intent: str = ""
    """The row's `asked` as JSON, for stage Intent; empty if it has none."""
    rego: str | None = None
    prompt: str = ""
    """What the row asks; its literals are no secrets."""

    @classmethod
    def of_row(cls, row: EvaluationRow, text: str) -> ProgramCheck:
        """Return the check of a row's answer with all of the row's stages, Intent included."""
        return cls(text, row.stages, "" if row.asked is None else row.asked.model_dump_json(), row.rego, row.prompt)

    def program(self, id_: str) -> Program:
        """Return the program of a verify request."""
        asked = IntentSpec.model_validate_json(self.intent) if self.intent else None
        return Program(id=id_, text=self.text, asked=asked, rego=self.rego, prompt=self.prompt)


class AnswerVerifier:
    """Client of the verifier with a run's policy."""

    def __init__(self, context: Context, verifier: VerifierClient) -> None:
        self._context = context
        self._verifier = verifier
        self.toolchain = Toolchain(terraform="none")
        """The toolchain of the newest response."""

    @property
    def rewrites(self) -> bool:
        """True if a house policy applies, so that a served answer may differ from the raw one."""
        return self._context.config.policy is not None

    async def check_toolchain(self) -> None:
        """Raise InvalidConfigError unless the verifier has the toolchain that the spec requires."""
        await self._verify([], (Stage.PARSE,), rewrite=False)
        if unmet := unmet_requirement(self._context.config.spec.evaluation.toolchain, self.toolchain):
            raise InvalidConfigError(f"spec.evaluation.toolchain: {unmet}; change it, or the profile's verifier image")

    async def verify_answers(
        self, answers: Sequence[ScoredAnswer], report_progress: ReportProgress
    ) -> list[ScoredAnswer]:
        """Return the answers with their verdicts; sampled answers are verified raw only."""
        complete = [s for s in answers if not s.truncated]
        raw = await self.verdicts(
            (_check(s) for s in complete), rewrite=False, report_progress=lambda done: report_progress(done / 2)
        )
        served = raw
        if self.rewrites:
            served = await self.verdicts(
                (_check(s) for s in complete if not s.sample),
                rewrite=True,
                report_progress=lambda done: report_progress(0.5 + done / 2),
            )
        return [s if s.truncated else replace(s, raw=raw[_check(s)], served=served.get(_check(s))) for s in answers]

    async def verdicts(
        self, checks: Iterable[ProgramCheck], *, rewrite: bool, report_progress: ReportProgress
    ) -> dict[ProgramCheck, ProgramVerdict]:
        """Return a verdict for each check; raises VerifierUnavailable or VerifierRefused."""
        distinct = list(dict.fromkeys(checks))
        verdicts: dict[ProgramCheck, ProgramVerdict] = {}
        for stages in dict.fromkeys(check.stages for check in distinct):
            with_stages = [check for check in distinct if check.stages == stages]
            programs = [check.program(str(number)) for number, check in enumerate(with_stages)]
            for part in requests_of(programs, VERIFY_CHUNK):
                checks = [with_stages[int(program.id)] for program in part]
                verdicts.update(zip(checks, await self._verify(part, stages, rewrite), strict=True))
                report_progress(len(verdicts) / len(distinct))
        return verdicts

    async def _verify(
        self, programs: Sequence[Program], stages: Sequence[Stage], rewrite: bool
    ) -> list[ProgramVerdict]:
        policy = self._context.config.policy or HousePolicy()  # an empty policy lets every program pass stage Policy
        request = VerifyRequest(programs=list(programs), stages=list(stages), policy=policy, rewrite=rewrite)
        response = await self._verifier.verify(request)
        self.toolchain = response.toolchain
        by_id = {verdict.id: verdict for verdict in response.verdicts}
        return [by_id[program.id] for program in programs]


def _check(scored: ScoredAnswer) -> ProgramCheck:
    return ProgramCheck.of_row(scored.row, scored.text)
