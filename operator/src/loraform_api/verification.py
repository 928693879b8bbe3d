"""What the verifier is asked and what it answers; the house policy."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from loraform_api.meta import ApiModel, WireModel


class Stage(StrEnum):
    """Stages of verification, cheapest first. A row passes when every asked stage passed."""

    PARSE = "Parse"
    VALIDATE = "Validate"
    POLICY = "Policy"
    INTENT = "Intent"


TagKey = Annotated[str, Field(min_length=1, max_length=128)]
TagValue = Annotated[str, Field(max_length=256)]


class HousePolicy(ApiModel):
    """What every resource must carry. Data shared by preparation, evaluation and serving."""

    comment: Annotated[str, Field(max_length=200, pattern=r"^(#.*)?$")] = ""
    """A line that must stand directly above each resource block, starting with `#`. Empty: none is asked."""
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=50)] = {}
    """Tags that every taggable resource must carry, with these literal values."""


class Asked(WireModel):
    """What a suite row's prompt names literally; all of it must stand in the program's syntax tree."""

    types: list[str] = []
    """Resource types, for example `aws_s3_bucket`."""
    names: list[str] = []
    """Names that must occur as a block label or as a whole string literal."""
    values: list[str] = []
    """Literal attribute values (string, number or bool, written as in Terraform without quotes)."""


class Program(WireModel):
    """One program to verify: the text of a `main.tf`."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[str, Field(max_length=200_000)]
    asked: Asked | None = None


class Diagnostic(WireModel):
    """One finding, worded for the author of the program."""

    code: str
    """A stable CamelCase class, for example `UnsupportedArgument`."""
    message: str
    line: int | None = None
    hint: str | None = None


class StageResult(WireModel):
    """Outcome of one stage. An inconclusive stage (timeout, blocked by policy, provider missing) is not passed."""

    stage: Stage
    passed: bool
    inconclusive: bool = False
    diagnostics: list[Diagnostic] = []


class ProgramVerdict(WireModel):
    """Outcome of one program. Stages after the first failed one are absent: not reached is not passed."""

    id: str
    passed: bool
    stages: list[StageResult]
    rewritten: str | None = None
    """The program after the house-policy rewrite; only when the request asked for it and the program parses."""

    def stage_passed(self, stage: Stage) -> bool:
        """Say whether `stage` was reached and passed."""
        return any(r.stage == stage and r.passed for r in self.stages)


class VerifyRequest(WireModel):
    programs: Annotated[list[Program], Field(max_length=5000)]
    stages: list[Stage] = list(Stage)
    """Stages to run, in the order of `Stage`. Policy needs `policy`; Intent needs `asked` and passes a row without."""
    policy: HousePolicy | None = None
    rewrite: bool = False
    """Apply the house policy by syntax tree first, verify the result and return it (the *served* form)."""


class Toolchain(WireModel):
    """The binaries that judged; part of provenance."""

    terraform: str
    """Product and version, for example `terraform 1.11.4`."""
    providers: dict[str, str] = {}
    """Provider source address to version."""


class VerifyResponse(WireModel):
    verdicts: list[ProgramVerdict]
    seconds: float
    toolchain: Toolchain
