"""The verifier as a library: it takes programs and returns verdicts.

A program passes through the requested stages in the order of `Stage` and stops at the first one that it fails. Format
stops no program, and neither does Schema where the provider's schema is unknown. Each stage runs once for all programs
that reach it.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from loraform_api.verification import (
    ON_PLAN,
    Program,
    Stage,
    StageResult,
    Toolchain,
    VerifyRequest,
    VerifyResponse,
)
from loraform_verifier.hcl.configuration import MAIN_FILE
from loraform_verifier.sandbox.isolation import IsolationError, Stopped
from loraform_verifier.sandbox.worker import Worker
from loraform_verifier.stages.bounded import internal_error
from loraform_verifier.stages.results import result
from loraform_verifier.stages.rows import ProgramRow
from loraform_verifier.stages.stages import Stages
from loraform_verifier.terraform.batch import DEADLINES, WAYS, Deadlines, parts
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator

LOG = logging.getLogger(__name__)
NO_TERRAFORM = Toolchain(terraform="none")
MACHINE_ERRORS = (IsolationError, Stopped, OSError, MemoryError)
"""Errors of the machine, not of a program: they are raised, and no program gets a verdict."""
WITH_TERRAFORM = (Stage.FORMAT, Stage.VALIDATE, Stage.PLAN)


class RequestError(ValueError):
    """The request contradicts itself; the message names the field and what to change."""


class Verifier:
    """Verifies programs. Without a toolchain, Format, Validate and the stages that need a plan are not available."""

    def __init__(
        self,
        terraform: Terraform | None = None,
        validator: Validator | None = None,
        *,
        servers: ProviderServers | None = None,
        packs: Mapping[str, str] | None = None,
        deadlines: Deadlines = DEADLINES,
        worker: Worker | None = None,
    ) -> None:
        """With `servers`, providers keep running between requests. The default `validator` uses `terraform`.

        `packs` are Rego modules by name, which Policy evaluates on every plan beside those of the request. `worker`
        makes the verifier's own checks within its limits, by default one that all verifiers of this process share.
        Raises SchemaError for an unusable schema file in the environment.
        """
        digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in (packs or {}).items()}
        toolchain = terraform.provenance() if terraform else NO_TERRAFORM
        self.toolchain = toolchain.model_copy(update={"packs": digests})
        self._stages = Stages(terraform, validator, servers, tuple((packs or {}).values()), deadlines, worker)

    def verify(
        self, request: VerifyRequest, *, beginning: Callable[[Stage, int], None] = lambda _stage, _programs: None
    ) -> VerifyResponse:
        """Run the requested stages. `beginning` is called before each one with the number of programs that reach it.

        Raises RequestError for a contradictory request, IsolationError if children cannot be confined.
        """
        started = time.monotonic()
        self.check(request)
        policy = request.policy if request.rewrite else None
        rows = [self._stages.row(program, policy) for program in request.programs]
        written = {i: self._stages.row(rows[i].program) for i in _changed(rows)} if request.judge_raw else {}
        for stage in (stage for stage in Stage if stage in request.stages):
            remaining = [row for row in (*rows, *written.values()) if row.open]
            beginning(stage, len(remaining))
            self._run(stage, remaining, request)
        verdicts = [row.verdict() for row in rows]
        if request.judge_raw:
            raw = [written.get(index, row).verdict() for index, row in enumerate(rows)]
            verdicts = [v.model_copy(update={"raw_passed": r.decided}) for v, r in zip(verdicts, raw, strict=True)]
        seconds = round(time.monotonic() - started, 3)
        return VerifyResponse(verdicts=verdicts, seconds=seconds, toolchain=self.toolchain)

    def check(self, request: VerifyRequest) -> None:
        """Raise RequestError if the request contradicts itself or needs a toolchain that is not here."""
        for error in self._request_errors(request):
            raise RequestError(error)

    def _run(self, stage: Stage, rows: list[ProgramRow], request: VerifyRequest) -> None:
        started = time.monotonic()
        results = self._results(stage, rows, request)
        for row, stage_result in zip(rows, results, strict=True):
            row.results.append(stage_result)
            row.seconds += (time.monotonic() - started) / len(rows)

    def _results(self, stage: Stage, rows: Sequence[ProgramRow], request: VerifyRequest) -> list[StageResult]:
        """Run a stage. If it raises, split the rows to find the culprit; all other programs keep their verdicts."""
        try:
            return self._stages.run(stage, rows, request)
        except MACHINE_ERRORS:
            raise
        except Exception:
            if len(rows) == 1:
                return [_internal_error(stage, rows[0].program)]
            return [r for part in parts(list(rows), WAYS) for r in self._results(stage, part, request)]

    def _request_errors(self, request: VerifyRequest) -> Iterator[str]:
        stages = set(request.stages)
        for stage in WITH_TERRAFORM:
            if stage in stages and not self._stages.available(stage):
                yield f"stages: {stage} needs a terraform binary and a provider mirror; give both or remove the stage"
        if request.policy is None and request.rewrite:
            yield "policy: `rewrite` needs a policy; give one or turn `rewrite` off"
        if request.judge_raw and not request.rewrite:
            yield "judgeRaw: without `rewrite` the text is judged as it is written; turn `judgeRaw` off"
        if request.packs and Stage.POLICY not in stages:
            yield "packs: only the Policy stage evaluates packs; add Policy to the stages"
        if Stage.PLAN in stages and Stage.VALIDATE not in stages:
            yield "stages: Plan needs Validate; add Validate"
        if Stage.PLAN not in stages:
            needs_plan = [str(s) for s in ON_PLAN if s in stages]
            needs_plan += ["Intent of programs with `rego`"] * (
                Stage.INTENT in stages and any(p.rego for p in request.programs)
            )
            needs_plan += ["Policy with `packs`"] * (Stage.POLICY in stages and bool(request.packs))
            if needs_plan:
                yield f"stages: {needs_plan[0]} needs a plan; add Plan"


def _changed(rows: Sequence[ProgramRow]) -> Iterator[int]:
    """Yield the indices of the programs that the rewrite changed."""
    for index, row in enumerate(rows):
        written = {MAIN_FILE: row.program.text, **row.program.files}
        if any(written[name] != text for name, text in row.rewritten.items()):
            yield index


def _internal_error(stage: Stage, program: Program) -> StageResult:
    """Log the current exception and return the result of the program that caused it in the verifier's own code."""
    LOG.exception("the verifier failed in %s on program %r", stage, program.id)
    return result(stage, [], internal_error())
