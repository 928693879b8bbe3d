"""What each stage asks of the programs that reach it: rows in, one result a row out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from loraform_api.verification import (
    Diagnostic,
    HousePolicy,
    Program,
    ProgramVerdict,
    Stage,
    StageResult,
    VerifyRequest,
)
from loraform_verifier import security
from loraform_verifier.hcl.configuration import MAIN_FILE, OVERRIDE, Configuration, placed
from loraform_verifier.hcl.modules import Modules, modules_of
from loraform_verifier.hcl.normalise import Normalised, normalise
from loraform_verifier.policy.program import judge_program
from loraform_verifier.rego.evaluate import Answer, Asks, Finding, Question, evaluate, intent_diagnostics
from loraform_verifier.schema.catalogue import Catalogue, places
from loraform_verifier.schema.check import check_configuration
from loraform_verifier.schema.settings import mistakes
from loraform_verifier.stages.denials import denials
from loraform_verifier.stages.intent import missing
from loraform_verifier.terraform.formatting import FormatError, unformatted
from loraform_verifier.terraform.plan import Planner
from loraform_verifier.terraform.plannable import plannable
from loraform_verifier.terraform.provider_server import ProviderKeeper
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator


@dataclass(slots=True)
class Row:
    """One program on its way through the stages."""

    program: Program
    configuration: Configuration
    rewritten: dict[str, str] = field(default_factory=dict)
    results: list[StageResult] = field(default_factory=list)
    seconds: float = 0
    normalised: Normalised | None = None
    """What `validate` is given."""
    modules: Modules | None = None
    """What it calls; found by Validate."""
    plan: bytes | None = None
    """In JSON; made by Plan."""

    @property
    def open(self) -> bool:
        """It goes on to the next stage."""
        return all(result.passed or _stops_nothing(result) for result in self.results)

    def verdict(self) -> ProgramVerdict:
        """Return the outcome as far as the row came."""
        files = dict(self.rewritten)
        return ProgramVerdict(
            id=self.program.id,
            passed=all(result.passed for result in self.results),
            stages=self.results,
            seconds=round(self.seconds, 4),
            rewritten=files.pop(MAIN_FILE, None),
            rewritten_files=files,
        )


def _stops_nothing(result: StageResult) -> bool:
    """Say of a stage that was not passed whether the next ones still have something to judge."""
    return result.stage is Stage.FORMAT or (result.stage is Stage.SCHEMA and result.inconclusive)


class Stages:
    """Runs stages with one toolchain."""

    def __init__(
        self,
        terraform: Terraform | None,
        validator: Validator | None,
        keeper: ProviderKeeper | None,
        packs: tuple[str, ...] = (),
    ) -> None:
        self._terraform = terraform
        self._validator = validator or (Validator(terraform, keeper=keeper) if terraform else None)
        self._planner = Planner(terraform, keeper=keeper) if terraform else None
        self._packs = packs
        self._catalogue = Catalogue(places(), {p.source: p.version for p in terraform.providers} if terraform else None)

    def can(self, stage: Stage) -> bool:
        """Say whether the toolchain that `stage` needs is there."""
        return self._validator is not None if stage is Stage.VALIDATE else self._terraform is not None

    def run(  # noqa: PLR0911 - one for each stage
        self, stage: Stage, rows: Sequence[Row], request: VerifyRequest
    ) -> list[StageResult]:
        """Return one result for each row."""
        match stage:
            case Stage.FORMAT:
                return self._format(rows)
            case Stage.PARSE:
                return [result(stage, row.configuration.problems) for row in rows]
            case Stage.SCHEMA:
                return [_schema(row, self._catalogue) for row in rows]
            case Stage.VALIDATE:
                return self._validate(rows)
            case Stage.PLAN:
                return self._plan(rows)
            case Stage.POLICY:
                return _policy(rows, request.policy or HousePolicy(), (*self._packs, *request.packs))
            case Stage.INTENT:
                return _intent(rows)
            case Stage.SECURITY:
                return _security(rows)

    def _format(self, rows: Sequence[Row]) -> list[StageResult]:
        readable = [row for row in rows if not row.configuration.problems]
        texts = [{name: d.source for name, d in row.configuration.documents.items()} for row in readable]
        try:
            found = unformatted(self._terraform, texts) if self._terraform and texts else []
        except FormatError as error:
            stopped = Diagnostic(code="Timeout", message=str(error))
            return [result(Stage.FORMAT, [], stopped) for _ in rows]
        listed = {id(row): files for row, files in zip(readable, found, strict=True)}
        return [result(Stage.FORMAT, _unformatted(row, listed.get(id(row), []))) for row in rows]

    def _validate(self, rows: Sequence[Row]) -> list[StageResult]:
        results = {id(row): refused for row in rows if (refused := self._refuse(row))}
        admitted = [row for row in rows if row.normalised is not None]
        if admitted and self._validator is not None:
            outcomes = self._validator.validate([row.normalised for row in admitted if row.normalised])
            for row, outcome in zip(admitted, outcomes, strict=True):
                results[id(row)] = result(Stage.VALIDATE, outcome.errors, outcome.undecided)
        return [results[id(row)] for row in rows]

    def _refuse(self, row: Row) -> StageResult | None:
        """Make a program ready for terraform, or return the result of one that must not reach it."""
        configuration = row.configuration
        if configuration.problems:  # Parse was not asked for
            return result(Stage.VALIDATE, configuration.problems)
        reasons = list(_overriding(configuration))
        reasons += [d for name, document in configuration.documents.items() for d in placed(name, denials(document))]
        registry, mirror = (self._terraform.registry, self._terraform.modules) if self._terraform else ("", None)
        modules = modules_of(configuration, registry, mirror)
        reasons += modules.refused
        if reasons:
            return result(Stage.VALIDATE, [], reasons[:10])
        if wrong := mistakes(configuration, modules):
            return result(Stage.VALIDATE, wrong)
        row.normalised, row.modules = normalise(configuration, modules), modules
        return None

    def _plan(self, rows: Sequence[Row]) -> list[StageResult]:
        programs = [plannable(r.configuration, r.normalised, r.modules) for r in rows if r.normalised is not None]
        outcomes = self._planner.plan(programs) if self._planner and programs else []
        for row, outcome in zip(rows, outcomes, strict=True):
            row.plan = outcome.written
        return [result(Stage.PLAN, outcome.errors, outcome.undecided) for outcome in outcomes]


def result(
    stage: Stage, errors: Sequence[Diagnostic], undecided: Sequence[Diagnostic] | Diagnostic | None = None
) -> StageResult:
    """Return a stage's result: passed when nothing was found, inconclusive when it could not be decided."""
    open_questions = [undecided] if isinstance(undecided, Diagnostic) else list(undecided or ())
    return StageResult(
        stage=stage,
        passed=not errors and not open_questions,
        inconclusive=bool(open_questions) and not errors,
        diagnostics=[*errors, *open_questions],
    )


def _overriding(configuration: Configuration) -> Iterator[Diagnostic]:
    for name in configuration.documents:
        if OVERRIDE.search(name):
            message = "Override files are not allowed: they change other files behind the reader's back."
            yield Diagnostic(code="BlockedByPolicy", message=message, file=name)


def _unformatted(row: Row, files: list[str]) -> list[Diagnostic]:
    hint = "Run `terraform fmt`."
    found = [Diagnostic(code="NotFormatted", message=f"{f} is not formatted.", hint=hint, file=f) for f in files]
    return [*row.configuration.problems, *found]


def _schema(row: Row, known: Catalogue) -> StageResult:
    if row.configuration.problems:
        return result(Stage.SCHEMA, row.configuration.problems)
    findings = check_configuration(row.configuration, known)
    return result(Stage.SCHEMA, findings.errors, findings.undecided)


def _policy(rows: Sequence[Row], policy: HousePolicy, packs: tuple[str, ...]) -> list[StageResult]:
    results = []
    # Packs speak of plans; those that the verifier was started with are asked where a plan was made.
    made = [row for row in rows if row.plan is not None]
    answers = dict(zip(map(id, made), _asked(made, packs), strict=True))
    for row in rows:
        answer = answers.get(id(row), Answer())
        plan = None if row.plan is None else json.loads(row.plan)
        house = judge_program(row.configuration, row.modules or Modules(), plan, policy)
        broken = [*row.configuration.problems, *house.broken]
        results.append(_with_findings(Stage.POLICY, row, answer, broken, house.undecided))
    return results


def _intent(rows: Sequence[Row]) -> list[StageResult]:
    asking = [row for row in rows if row.program.rego is not None and row.plan is not None]
    questions = [Question(Asks.INTENT, (row.program.rego or "",), row.plan or b"{}") for row in asking]
    answers = dict(zip(map(id, asking), evaluate(questions), strict=True))
    return [_one_intent(row, answers.get(id(row))) for row in rows]


def _one_intent(row: Row, answer: Answer | None) -> StageResult:
    found = list(row.configuration.problems)
    found += missing(row.configuration.blocks(), row.program.asked) if row.program.asked else []
    found += intent_diagnostics(answer) if answer else []
    return result(Stage.INTENT, found, answer.undecided if answer else None)


def _security(rows: Sequence[Row]) -> list[StageResult]:
    answers = _asked(rows, security.rules())
    return [_with_findings(Stage.SECURITY, row, answer) for row, answer in zip(rows, answers, strict=True)]


def _asked(rows: Sequence[Row], packs: tuple[str, ...]) -> list[Answer]:
    """Ask the same packs of all rows' plans."""
    if not packs:
        return [Answer() for _ in rows]
    return evaluate([Question(Asks.PACK, packs, row.plan or b"{}") for row in rows])


def _with_findings(
    stage: Stage, row: Row, answer: Answer, broken: Sequence[Diagnostic] = (), undecided: Sequence[Diagnostic] = ()
) -> StageResult:
    """Return a stage's result with what packs found, each where its resource stands; what does not gate is shown."""
    found = [(finding.gates, _placed(row, finding)) for finding in answer.findings]
    open_questions = [*undecided, *([answer.undecided] if answer.undecided else [])]
    outcome = result(stage, [*broken, *(d for gates, d in found if gates)], open_questions)
    noted = [d for gates, d in found if not gates]
    return outcome.model_copy(update={"diagnostics": [*outcome.diagnostics, *noted]})


def _placed(row: Row, finding: Finding) -> Diagnostic:
    for name, document in row.configuration.module().items():
        diagnostic = finding.diagnostic(document)
        if diagnostic.line is not None:
            return diagnostic.model_copy(update={"file": name})
    return finding.diagnostic()
