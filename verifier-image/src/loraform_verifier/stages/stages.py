"""The stages of verification: each takes the programs that reach it and returns one result for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from loraform_api.verification import Diagnostic, HousePolicy, Program, Stage, StageResult, VerifyRequest
from loraform_verifier import security
from loraform_verifier.hcl.configuration import files_of
from loraform_verifier.hcl.requirements import CORE
from loraform_verifier.rego.evaluate import LOST, PolicyKind, PolicyQuery, PolicyResult, evaluate, intent_diagnostics
from loraform_verifier.sandbox.worker import Worker
from loraform_verifier.schema.catalogue import Catalogue, schema_paths
from loraform_verifier.stages import own_checks
from loraform_verifier.stages.bounded import OwnChecks, UndecidedError
from loraform_verifier.stages.own_checks import Sources, Toolset
from loraform_verifier.stages.results import result
from loraform_verifier.stages.rows import ProgramRow
from loraform_verifier.terraform.batch import DEADLINES, JUDGED_APART, Deadlines
from loraform_verifier.terraform.formatting import FormatError, unformatted
from loraform_verifier.terraform.plan import Planner
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator

WITH_PROBLEMS = (Stage.POLICY, Stage.INTENT)
"""Stages that also look at what can be read of a program with syntax errors."""


class Stages:
    """The stages with one toolchain."""

    def __init__(
        self,
        terraform: Terraform | None,
        validator: Validator | None,
        servers: ProviderServers | None,
        packs: tuple[str, ...] = (),
        deadlines: Deadlines = DEADLINES,
        worker: Worker | None = None,
    ) -> None:
        """`worker` makes the verifier's own checks, by default that of this process. Raises SchemaError."""
        self._terraform = terraform
        self._validator = validator or (Validator(terraform, deadlines, servers) if terraform else None)
        self._planner = Planner(terraform, deadlines, servers) if terraform else None
        self._packs = packs
        self._deadlines = deadlines
        self._own = OwnChecks(worker)
        self._schemas = tuple(schema_paths())
        self._versions = tuple((p.source, p.version) for p in terraform.providers) if terraform else None
        self._tools = _toolset(terraform) if terraform else None
        Catalogue(self._schemas)  # raises for a schema file that cannot be used

    def available(self, stage: Stage) -> bool:
        """Return whether the toolchain that `stage` needs is available."""
        return self._validator is not None if stage is Stage.VALIDATE else self._terraform is not None

    def row(self, program: Program, policy: HousePolicy | None = None) -> ProgramRow:
        """Read a program; rewrite it by a policy, if there is one."""
        registry, mirror = (self._terraform.registry, self._terraform.modules) if self._terraform else ("", None)
        sources = Sources(tuple(files_of(program).items()), registry, mirror)
        try:
            reading = self._own.call(program, own_checks.read, sources, policy)
        except UndecidedError as error:
            return ProgramRow(program, sources, unread=error.diagnostic)
        if reading.rewritten:
            sources = sources.with_files(reading.rewritten)
        return ProgramRow(program, sources, reading.problems, rewritten=reading.rewritten)

    def run(self, stage: Stage, rows: Sequence[ProgramRow], request: VerifyRequest) -> list[StageResult]:
        """Return one result for each row."""
        results = {id(row): result(stage, [], row.unread) for row in rows if row.unread is not None}
        if stage not in WITH_PROBLEMS:
            results |= {id(row): result(stage, row.problems) for row in rows if row.problems}
        rest = [row for row in rows if id(row) not in results]
        results |= zip(map(id, rest), self._run(stage, rest, request), strict=True)
        return [results[id(row)] for row in rows]

    def _run(  # noqa: PLR0911 - one return for each stage
        self, stage: Stage, rows: Sequence[ProgramRow], request: VerifyRequest
    ) -> list[StageResult]:
        match stage:
            case Stage.FORMAT:
                return self._format(rows)
            case Stage.PARSE:
                return [result(stage, []) for _ in rows]
            case Stage.SCHEMA:
                return [self._schema(row) for row in rows]
            case Stage.VALIDATE:
                return self._validate(rows, to_plan=Stage.PLAN in request.stages)
            case Stage.PLAN:
                return self._plan(rows)
            case Stage.POLICY:
                return self._policy(rows, request.policy or HousePolicy(), (*self._packs, *request.packs))
            case Stage.INTENT:
                return self._intent(rows)
            case Stage.SECURITY:
                return self._security(rows)

    def _format(self, rows: Sequence[ProgramRow]) -> list[StageResult]:
        texts = [{name: text.encode() for name, text in row.sources.files} for row in rows]
        try:
            changed = unformatted(self._terraform, texts) if self._terraform and texts else []
        except FormatError as error:
            timeout = Diagnostic(code="Timeout", message=str(error))
            undecided = JUDGED_APART if self._deadlines.shared else timeout
            return [result(Stage.FORMAT, [], undecided) for _ in rows]
        return [result(Stage.FORMAT, _unformatted(files)) for files in changed]

    def _schema(self, row: ProgramRow) -> StageResult:
        return self._decided(
            Stage.SCHEMA,
            lambda: self._own.call(row.program, own_checks.check_schema, row.sources, self._schemas, self._versions),
        )

    def _validate(self, rows: Sequence[ProgramRow], *, to_plan: bool) -> list[StageResult]:
        results = {id(row): refused for row in rows if (refused := self._refuse(row, to_plan=to_plan))}
        admitted = [(row, row.prepared.normalised) for row in rows if row.prepared is not None]
        if admitted and self._validator is not None:
            outcomes = self._validator.validate([program for _, program in admitted])
            for (row, _), outcome in zip(admitted, outcomes, strict=True):
                results[id(row)] = result(Stage.VALIDATE, outcome.errors, outcome.undecided)
        return [results[id(row)] for row in rows]

    def _refuse(self, row: ProgramRow, *, to_plan: bool) -> StageResult | None:
        """Prepare a program for terraform, or return the result of one that must not reach it."""
        try:
            prepared = self._own.call(row.program, own_checks.prepare, row.sources, self._tools, to_plan=to_plan)
        except UndecidedError as error:
            return result(Stage.VALIDATE, [], error.diagnostic)
        if isinstance(prepared, StageResult):
            return prepared
        row.prepared = prepared
        return None

    def _plan(self, rows: Sequence[ProgramRow]) -> list[StageResult]:
        programs = [row.prepared.plannable for row in rows if row.prepared and row.prepared.plannable]
        outcomes = self._planner.plan(programs) if self._planner and programs else []
        for row, outcome in zip(rows, outcomes, strict=True):
            row.plan, row.prepared = outcome.plan_json, None  # no later stage reads what terraform was given
        return [result(Stage.PLAN, outcome.errors, outcome.undecided) for outcome in outcomes]

    def _policy(self, rows: Sequence[ProgramRow], policy: HousePolicy, packs: tuple[str, ...]) -> list[StageResult]:
        # Packs check plans, so the verifier's own packs run only if the request has the Plan stage.
        planned = [row for row in rows if row.plan is not None]
        pack_results = dict(zip(map(id, planned), self._evaluate_packs(planned, packs), strict=True))
        return [self._one_policy(row, policy, pack_results.get(id(row), PolicyResult())) for row in rows]

    def _one_policy(self, row: ProgramRow, policy: HousePolicy, packs: PolicyResult) -> StageResult:
        def decide() -> StageResult:
            house = self._own.call(
                row.program, own_checks.check_policy, row.sources, row.plan, policy, row.program.prompt
            )
            return self._with_findings(Stage.POLICY, row, packs, [*row.problems, *house.broken], house.undecided)

        return self._decided(Stage.POLICY, decide)

    def _intent(self, rows: Sequence[ProgramRow]) -> list[StageResult]:
        with_rego = [row for row in rows if row.program.rego is not None and row.plan is not None]
        queries = [PolicyQuery(PolicyKind.INTENT, (row.program.rego or "",), row.plan or b"{}") for row in with_rego]
        rego_results = dict(zip(map(id, with_rego), self._evaluate(queries), strict=True))
        return [self._one_intent(row, rego_results.get(id(row))) for row in rows]

    def _one_intent(self, row: ProgramRow, rego: PolicyResult | None) -> StageResult:
        def decide() -> StageResult:
            asked = row.program.asked
            errors = list(row.problems)
            errors += self._own.call(row.program, own_checks.check_intent, row.sources, asked) if asked else []
            errors += intent_diagnostics(rego) if rego else []
            return result(Stage.INTENT, errors, rego.undecided if rego else None)

        return self._decided(Stage.INTENT, decide)

    def _security(self, rows: Sequence[ProgramRow]) -> list[StageResult]:
        results = self._evaluate_packs(rows, security.rules())
        return [
            self._decided(Stage.SECURITY, partial(self._with_findings, Stage.SECURITY, row, rules))
            for row, rules in zip(rows, results, strict=True)
        ]

    def _with_findings(
        self,
        stage: Stage,
        row: ProgramRow,
        packs: PolicyResult,
        broken: Sequence[Diagnostic] = (),
        undecided: Sequence[Diagnostic] = (),
    ) -> StageResult:
        """Return a stage's result with pack findings at their resources; findings that do not gate come last."""
        found = packs.findings
        placed = self._own.call(row.program, own_checks.placed, row.sources, found) if found else []
        diagnostics = [(finding.gates, diagnostic) for finding, diagnostic in zip(found, placed, strict=True)]
        unresolved = [*undecided, *([packs.undecided] if packs.undecided else [])]
        stage_result = result(stage, [*broken, *(d for gates, d in diagnostics if gates)], unresolved)
        warnings = [d for gates, d in diagnostics if not gates]
        return stage_result.model_copy(update={"diagnostics": [*stage_result.diagnostics, *warnings]})

    def _evaluate_packs(self, rows: Sequence[ProgramRow], packs: tuple[str, ...]) -> list[PolicyResult]:
        """Evaluate the same packs on the plans of all rows."""
        if not packs:
            return [PolicyResult() for _ in rows]
        return self._evaluate([PolicyQuery(PolicyKind.PACK, packs, row.plan or b"{}") for row in rows])

    def _evaluate(self, queries: Sequence[PolicyQuery]) -> list[PolicyResult]:
        results = evaluate(queries, seconds=self._deadlines.rego, each=self._deadlines.policy)
        if not self._deadlines.shared:
            return results
        lost = (r.undecided is not None and r.undecided.code in LOST for r in results)
        return [replace(r, undecided=JUDGED_APART) if gone else r for r, gone in zip(results, lost, strict=True)]

    @staticmethod
    def _decided(stage: Stage, decide: Callable[[], StageResult]) -> StageResult:
        """Return the result that `decide` returns; an inconclusive one if the verifier's own code has no verdict."""
        try:
            return decide()
        except UndecidedError as error:
            return result(stage, [], error.diagnostic)


def _toolset(terraform: Terraform) -> Toolset:
    return Toolset(terraform.product, {CORE: terraform.version, **terraform.provenance().providers})


def _unformatted(files: list[str]) -> list[Diagnostic]:
    hint = "Run `terraform fmt`."
    return [Diagnostic(code="NotFormatted", message=f"{f} is not formatted.", hint=hint, file=f) for f in files]
