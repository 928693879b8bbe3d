"""The stages of verification: each takes the programs that reach it and returns one result for each."""

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
from loraform_verifier.hcl.configuration import MAIN_FILE, OVERRIDE, Configuration, with_file
from loraform_verifier.hcl.modules import Modules, modules_of
from loraform_verifier.hcl.normalise import Normalised, normalise
from loraform_verifier.hcl.requirements import CORE, Requirement, mismatch, unmet
from loraform_verifier.policy.program import check_program
from loraform_verifier.rego.evaluate import (
    PackFinding,
    PolicyKind,
    PolicyQuery,
    PolicyResult,
    evaluate,
    intent_diagnostics,
)
from loraform_verifier.schema.catalogue import Catalogue, schema_paths
from loraform_verifier.schema.check import check_configuration
from loraform_verifier.schema.settings import requirements, settings_errors
from loraform_verifier.security.literal_secrets import secret_diagnostics
from loraform_verifier.stages.denials import denials
from loraform_verifier.stages.intent import missing_requirements
from loraform_verifier.terraform.batch import DEADLINES, Deadlines
from loraform_verifier.terraform.formatting import FormatError, unformatted
from loraform_verifier.terraform.plan import Planner
from loraform_verifier.terraform.plannable import plannable
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator


@dataclass(slots=True)
class ProgramRow:
    """One program and its results so far."""

    program: Program
    configuration: Configuration
    rewritten: dict[str, str] = field(default_factory=dict)
    results: list[StageResult] = field(default_factory=list)
    seconds: float = 0
    normalised: Normalised | None = None
    """The program as it is given to terraform; set by Validate."""
    modules: Modules | None = None
    """The modules that it calls; set by Validate."""
    plan: bytes | None = None
    """Its plan in JSON; set by Plan."""

    @property
    def open(self) -> bool:
        """True if the program goes on to the next stage."""
        return all(result.passed or _stops_nothing(result) for result in self.results)

    def verdict(self) -> ProgramVerdict:
        """Return the verdict over the stages that have run."""
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
    """Return whether later stages run although this one was not passed."""
    return result.stage is Stage.FORMAT or (result.stage is Stage.SCHEMA and result.inconclusive)


class Stages:
    """The stages with one toolchain."""

    def __init__(
        self,
        terraform: Terraform | None,
        validator: Validator | None,
        servers: ProviderServers | None,
        packs: tuple[str, ...] = (),
        deadlines: Deadlines = DEADLINES,
    ) -> None:
        self._terraform = terraform
        self._validator = validator or (Validator(terraform, deadlines, servers) if terraform else None)
        self._planner = Planner(terraform, deadlines, servers) if terraform else None
        self._packs = packs
        self._catalogue = Catalogue(
            schema_paths(), {p.source: p.version for p in terraform.providers} if terraform else None
        )

    def available(self, stage: Stage) -> bool:
        """Return whether the toolchain that `stage` needs is available."""
        return self._validator is not None if stage is Stage.VALIDATE else self._terraform is not None

    def run(  # noqa: PLR0911 - one return for each stage
        self, stage: Stage, rows: Sequence[ProgramRow], request: VerifyRequest
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

    def _format(self, rows: Sequence[ProgramRow]) -> list[StageResult]:
        readable = [row for row in rows if not row.configuration.problems]
        texts = [{name: d.source for name, d in row.configuration.documents.items()} for row in readable]
        try:
            changed = unformatted(self._terraform, texts) if self._terraform and texts else []
        except FormatError as error:
            timeout = Diagnostic(code="Timeout", message=str(error))
            return [result(Stage.FORMAT, [], timeout) for _ in rows]
        changed_files = {id(row): files for row, files in zip(readable, changed, strict=True)}
        return [result(Stage.FORMAT, _unformatted(row, changed_files.get(id(row), []))) for row in rows]

    def _validate(self, rows: Sequence[ProgramRow]) -> list[StageResult]:
        results = {id(row): refused for row in rows if (refused := self._refuse(row))}
        admitted = [row for row in rows if row.normalised is not None]
        if admitted and self._validator is not None:
            outcomes = self._validator.validate([row.normalised for row in admitted if row.normalised])
            for row, outcome in zip(admitted, outcomes, strict=True):
                results[id(row)] = result(Stage.VALIDATE, outcome.errors, outcome.undecided)
        return [results[id(row)] for row in rows]

    def _refuse(self, row: ProgramRow) -> StageResult | None:
        """Normalise a program for terraform, or return the result of one that must not reach it."""
        configuration = row.configuration
        if configuration.problems:  # the request has no Parse stage
            return result(Stage.VALIDATE, configuration.problems)
        reasons = list(_overriding(configuration))
        reasons += [d for name, document in configuration.documents.items() for d in with_file(name, denials(document))]
        registry, mirror = (self._terraform.registry, self._terraform.modules) if self._terraform else ("", None)
        modules = modules_of(configuration, registry, mirror)
        reasons += modules.refused
        if reasons:
            return result(Stage.VALIDATE, [], reasons[:10])
        if errors := settings_errors(configuration, modules):
            return result(Stage.VALIDATE, errors)
        if mismatches := list(self._mismatches(requirements(configuration, modules))):
            return result(Stage.VALIDATE, [], mismatches[:10])
        row.normalised, row.modules = normalise(configuration, modules), modules
        return None

    def _mismatches(self, asked: Sequence[Requirement]) -> Iterator[Diagnostic]:
        """Yield a finding for each version constraint that this toolchain does not meet."""
        if self._terraform is not None:
            installed = {CORE: self._terraform.version, **self._terraform.provenance().providers}
            for requirement in unmet(asked, installed):
                yield mismatch(requirement, installed[requirement.subject], self._terraform.product)

    def _plan(self, rows: Sequence[ProgramRow]) -> list[StageResult]:
        programs = [plannable(r.configuration, r.normalised, r.modules) for r in rows if r.normalised is not None]
        outcomes = self._planner.plan(programs) if self._planner and programs else []
        for row, outcome in zip(rows, outcomes, strict=True):
            row.plan = outcome.plan_json
        return [result(Stage.PLAN, outcome.errors, outcome.undecided) for outcome in outcomes]


def result(
    stage: Stage, errors: Sequence[Diagnostic], undecided: Sequence[Diagnostic] | Diagnostic | None = None
) -> StageResult:
    """Return a stage's result: passed without findings, inconclusive if there are no errors but undecided checks."""
    unresolved = [undecided] if isinstance(undecided, Diagnostic) else list(undecided or ())
    return StageResult(
        stage=stage,
        passed=not errors and not unresolved,
        inconclusive=bool(unresolved) and not errors,
        diagnostics=[*errors, *unresolved],
    )


def _overriding(configuration: Configuration) -> Iterator[Diagnostic]:
    for name in configuration.documents:
        if OVERRIDE.search(name):
            message = "Override files are not allowed: terraform merges them into other files."
            yield Diagnostic(code="BlockedByPolicy", message=message, file=name)


def _unformatted(row: ProgramRow, files: list[str]) -> list[Diagnostic]:
    hint = "Run `terraform fmt`."
    changed = [Diagnostic(code="NotFormatted", message=f"{f} is not formatted.", hint=hint, file=f) for f in files]
    return [*row.configuration.problems, *changed]


def _schema(row: ProgramRow, catalogue: Catalogue) -> StageResult:
    if row.configuration.problems:
        return result(Stage.SCHEMA, row.configuration.problems)
    findings = check_configuration(row.configuration, catalogue)
    return result(Stage.SCHEMA, findings.errors, findings.undecided)


def _policy(rows: Sequence[ProgramRow], policy: HousePolicy, packs: tuple[str, ...]) -> list[StageResult]:
    results = []
    # Packs check plans, so the verifier's own packs run only if the request has the Plan stage.
    planned = [row for row in rows if row.plan is not None]
    pack_results = dict(zip(map(id, planned), _evaluate_packs(planned, packs), strict=True))
    for row in rows:
        packs_result = pack_results.get(id(row), PolicyResult())
        plan = None if row.plan is None else json.loads(row.plan)
        house = check_program(row.configuration, row.modules or Modules(), plan, policy)
        broken = [*row.configuration.problems, *house.broken, *_literal_secrets(row)]
        results.append(_with_findings(Stage.POLICY, row, packs_result, broken, house.undecided))
    return results


def _literal_secrets(row: ProgramRow) -> Iterator[Diagnostic]:
    for name, document in row.configuration.documents.items():
        text = document.source.decode("utf-8", errors="surrogatepass")
        yield from with_file(name, secret_diagnostics(text, row.program.prompt))


def _intent(rows: Sequence[ProgramRow]) -> list[StageResult]:
    with_rego = [row for row in rows if row.program.rego is not None and row.plan is not None]
    queries = [PolicyQuery(PolicyKind.INTENT, (row.program.rego or "",), row.plan or b"{}") for row in with_rego]
    rego_results = dict(zip(map(id, with_rego), evaluate(queries), strict=True))
    return [_one_intent(row, rego_results.get(id(row))) for row in rows]


def _one_intent(row: ProgramRow, rego: PolicyResult | None) -> StageResult:
    errors = list(row.configuration.problems)
    errors += missing_requirements(row.configuration.blocks(), row.program.asked) if row.program.asked else []
    errors += intent_diagnostics(rego) if rego else []
    return result(Stage.INTENT, errors, rego.undecided if rego else None)


def _security(rows: Sequence[ProgramRow]) -> list[StageResult]:
    results = _evaluate_packs(rows, security.rules())
    return [_with_findings(Stage.SECURITY, row, rules) for row, rules in zip(rows, results, strict=True)]


def _evaluate_packs(rows: Sequence[ProgramRow], packs: tuple[str, ...]) -> list[PolicyResult]:
    """Evaluate the same packs on the plans of all rows."""
    if not packs:
        return [PolicyResult() for _ in rows]
    return evaluate([PolicyQuery(PolicyKind.PACK, packs, row.plan or b"{}") for row in rows])


def _with_findings(
    stage: Stage,
    row: ProgramRow,
    packs: PolicyResult,
    broken: Sequence[Diagnostic] = (),
    undecided: Sequence[Diagnostic] = (),
) -> StageResult:
    """Return a stage's result with pack findings at their resources; findings that do not gate come last."""
    diagnostics = [(finding.gates, _placed(row, finding)) for finding in packs.findings]
    unresolved = [*undecided, *([packs.undecided] if packs.undecided else [])]
    stage_result = result(stage, [*broken, *(d for gates, d in diagnostics if gates)], unresolved)
    warnings = [d for gates, d in diagnostics if not gates]
    return stage_result.model_copy(update={"diagnostics": [*stage_result.diagnostics, *warnings]})


def _placed(row: ProgramRow, finding: PackFinding) -> Diagnostic:
    for name, document in row.configuration.module().items():
        diagnostic = finding.diagnostic(document)
        if diagnostic.line is not None:
            return diagnostic.model_copy(update={"file": name})
    return finding.diagnostic()
