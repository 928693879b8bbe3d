"""The verifier as a library: programs in, verdicts out, stage by stage.

A program meets the asked stages in the order of `Stage` and stops at the first that it does not pass, except Format,
which says nothing about what the program does. All programs that come to a stage go through it together.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from loraform_api.verification import (
    ON_PLAN,
    Diagnostic,
    HousePolicy,
    Program,
    Stage,
    StageResult,
    Toolchain,
    VerifyRequest,
    VerifyResponse,
)
from loraform_verifier.hcl.configuration import Configuration, read
from loraform_verifier.hcl.parse import parse
from loraform_verifier.policy.rewrite import rewrite
from loraform_verifier.sandbox.isolation import IsolationError
from loraform_verifier.stages.stages import Row, Stages, result
from loraform_verifier.terraform.batch import WAYS, parts
from loraform_verifier.terraform.provider_server import ProviderKeeper
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator

LOG = logging.getLogger(__name__)
NO_TERRAFORM = Toolchain(terraform="none")
NOT_THE_PROGRAM = (IsolationError, OSError, MemoryError)
"""What befalls the machine: no verdict on any program."""
WITH_TERRAFORM = (Stage.FORMAT, Stage.VALIDATE, Stage.PLAN)


class RequestError(ValueError):
    """The request asks for something that cannot be done; the message names the field and what to change."""


class Verifier:
    """Verifies programs. Without a toolchain every stage but Format, Validate and what needs a plan works."""

    def __init__(
        self,
        terraform: Terraform | None = None,
        validator: Validator | None = None,
        *,
        keeper: ProviderKeeper | None = None,
        packs: Mapping[str, str] | None = None,
    ) -> None:
        """`validator` is made from `terraform` unless given; with a `keeper`, providers live on between requests.
        `packs` are Rego modules by name that Policy asks of every plan, beside those of the request.

        Raises SchemaError where a schema file that the environment names cannot be used.
        """
        digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in (packs or {}).items()}
        words = terraform.words() if terraform else NO_TERRAFORM
        self.toolchain = words.model_copy(update={"packs": digests})
        self._stages = Stages(terraform, validator, keeper, tuple((packs or {}).values()))

    def verify(
        self, request: VerifyRequest, *, beginning: Callable[[Stage, int], None] = lambda _stage, _programs: None
    ) -> VerifyResponse:
        """Run the asked stages; `beginning` is told of each, with the number of programs that have come to it.

        Raises RequestError for a contradictory request, IsolationError without a sandbox.
        """
        started = time.monotonic()
        for mistake in self._mistakes(request):
            raise RequestError(mistake)
        rows = [_begun(program, request) for program in request.programs]
        for stage in (stage for stage in Stage if stage in request.stages):
            left = [row for row in rows if row.open]
            beginning(stage, len(left))
            self._run(stage, left, request)
        seconds = round(time.monotonic() - started, 3)
        return VerifyResponse(verdicts=[row.verdict() for row in rows], seconds=seconds, toolchain=self.toolchain)

    def _run(self, stage: Stage, rows: list[Row], request: VerifyRequest) -> None:
        started = time.monotonic()
        results = self._results(stage, rows, request)
        for row, found in zip(rows, results, strict=True):
            row.results.append(found)
            row.seconds += (time.monotonic() - started) / len(rows)

    def _results(self, stage: Stage, rows: Sequence[Row], request: VerifyRequest) -> list[StageResult]:
        """Run a stage. A program that brings it down is found by division and has no verdict; its neighbours have."""
        try:
            return self._stages.run(stage, rows, request)
        except NOT_THE_PROGRAM:
            raise
        except Exception:
            if len(rows) == 1:
                return [_broken_down(stage, rows[0].program)]
            return [r for part in parts(list(rows), WAYS) for r in self._results(stage, part, request)]

    def _mistakes(self, request: VerifyRequest) -> Iterator[str]:
        asked = set(request.stages)
        for stage in WITH_TERRAFORM:
            if stage in asked and not self._stages.can(stage):
                yield f"stages: {stage} needs a terraform binary and a provider mirror; give both or leave it out"
        if request.policy is None and request.rewrite:
            yield "policy: `rewrite` needs a policy; give one or leave it out"
        if request.policy is None and not request.packs and Stage.POLICY in asked:
            yield "policy: the Policy stage needs a policy or packs; give one or leave it out"
        if request.packs and Stage.POLICY not in asked:
            yield "packs: the Policy stage asks them; add it to the stages"
        if Stage.PLAN in asked and Stage.VALIDATE not in asked:
            yield "stages: Plan needs Validate; add it"
        if Stage.PLAN not in asked:
            needing = [str(s) for s in ON_PLAN if s in asked]
            needing += ["Intent of programs with `rego`"] * (
                Stage.INTENT in asked and any(p.rego for p in request.programs)
            )
            needing += ["Policy with `packs`"] * (Stage.POLICY in asked and bool(request.packs))
            if needing:
                yield f"stages: {needing[0]} reads a plan; add Plan"


def _begun(program: Program, request: VerifyRequest) -> Row:
    try:
        return _row(program, request)
    except NOT_THE_PROGRAM:
        raise
    except Exception:
        first = next(stage for stage in Stage if stage in request.stages)
        return Row(program, Configuration({}), results=[_broken_down(first, program)])


def _broken_down(stage: Stage, program: Program) -> StageResult:
    """Return the result of a program that our own code fails on, as its exception is handled; it is told in the log."""
    LOG.exception("the verifier failed in %s on program %r", stage, program.id)
    message = "The verifier itself failed on this program; its log says where."
    return result(stage, [], Diagnostic(code="InternalError", message=message))


def _row(program: Program, request: VerifyRequest) -> Row:
    configuration = read(program)
    if not request.rewrite or request.policy is None or configuration.problems:
        return Row(program, configuration)
    rewritten = _rewritten(configuration, request.policy)
    return Row(program, Configuration({name: parse(text) for name, text in rewritten.items()}), rewritten)


def _rewritten(configuration: Configuration, policy: HousePolicy) -> dict[str, str]:
    return {name: rewrite(document, policy) for name, document in configuration.documents.items()}
