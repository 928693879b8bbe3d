"""What the verifier is asked and what it answers; the house policy."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from loraform_api.meta import ApiModel, Name, ObjectName, WireModel, keyed_by


class Stage(StrEnum):
    """Stages of verification in their order. A row passes when every asked stage passed."""

    FORMAT = "Format"
    """Written as `terraform fmt` writes. Stops nothing: most programs of people are not."""
    PARSE = "Parse"
    SCHEMA = "Schema"
    """Types and arguments exist, by a table; no terraform is started."""
    VALIDATE = "Validate"
    """`terraform validate`."""
    PLAN = "Plan"
    """`terraform plan` with neither account nor network."""
    POLICY = "Policy"
    INTENT = "Intent"
    SECURITY = "Security"


VALIDITY = (Stage.PARSE, Stage.VALIDATE)
"""Stages that decide whether a program is valid Terraform."""
SERVED = (*VALIDITY, Stage.PLAN, Stage.POLICY)
"""Stages that an answer can be asked without a suite row to compare it with."""
GATE = (*SERVED, Stage.INTENT)
"""Stages of a suite that names none."""
WITHOUT_TERRAFORM = (Stage.PARSE, Stage.POLICY)
"""Those of `SERVED` that start no Terraform process."""
ON_PLAN = (Stage.SECURITY,)
"""Stages that can only read a plan."""
WITH_REFERENCE = (Stage.INTENT,)
"""Stages that compare a program with a suite row; their findings would give the expected answer away."""

MAX_FILE_NAME = 200
FILE_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_-]*/){0,4}[A-Za-z0-9_][A-Za-z0-9_.-]*\.tf")
FILE_NAME_WORDS = (
    "{name} cannot be a file's path: it may have 4 folders like modules/network/main.tf, no space, 200 characters, "
    "and ASCII letters and digits, `_`, `-`, dots in its last part, ending in .tf"
)
ProgramText = Annotated[str, Field(max_length=200_000)]
TagKey = Annotated[str, Field(min_length=1, max_length=128)]
TagValue = Annotated[str, Field(max_length=256)]


class DenyRule(ApiModel):
    """Something that no resource may be, or may have."""

    name: Name
    """Names the rule in findings."""
    types: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9_*]+$")]],
        Field(min_length=1, max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Resource types, `*` for any characters: `aws_iam_access_key`, `aws_db_*`."""
    argument: Annotated[str, Field(max_length=200, pattern=r"^([a-z0-9_]+(\.[a-z0-9_]+)*)?$")] = ""
    """An argument, through nested blocks with dots: `ingress.cidr_blocks`. Empty: the resource itself is denied."""
    values: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Values the argument may not have, or hold in its list. Empty: it may not be set."""
    message: Annotated[str, Field(max_length=300)] = ""
    """What to do instead."""


class PackKey(ApiModel):
    name: ObjectName
    """Name of a ConfigMap in the same namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key whose value is a Rego module."""


class PolicyPack(ApiModel):
    """Rules in Rego, asked of each plan."""

    name: Name
    """Names the pack in findings and provenance."""
    config_map: PackKey
    """Where the module is."""


class DefaultTags(StrEnum):
    """Whether the provider's `default_tags` count as tags of a resource."""

    IGNORED = "Ignored"
    COUNTED = "Counted"


class HousePolicy(ApiModel):
    """What every resource must carry. Data shared by preparation, evaluation and serving."""

    comment: Annotated[str, Field(max_length=200, pattern=r"^(#.*)?$")] = ""
    """A line that must stand directly above each resource block, starting with `#`. Empty: none is asked."""
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=50)] = {}
    """Tags that every taggable resource must carry, with these literal values."""
    required_tags: Annotated[
        list[TagKey], Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = []
    """Tags that every taggable resource must carry with any value; a rewrite cannot invent them."""
    default_tags: DefaultTags = DefaultTags.IGNORED
    """Whether a tag may also come from the provider's `default_tags`."""
    deny: Annotated[list[DenyRule], Field(max_length=50, json_schema_extra=keyed_by("name"))] = []
    """What no resource may be or have."""
    packs: Annotated[list[PolicyPack], Field(max_length=10, json_schema_extra=keyed_by("name"))] = []
    """Rules in Rego: what `deny` or `violation` of any package holds for a plan breaks the policy."""


class IntentSpec(WireModel):
    """What a suite row's prompt names literally; all of it must stand in the program's syntax tree."""

    types: list[str] = []
    """Resource types, for example `aws_s3_bucket`."""
    names: list[str] = []
    """Names that must occur as a block label or as a whole string literal."""
    values: list[str] = []
    """Literal attribute values (string, number or bool, written as in Terraform without quotes)."""


class Program(WireModel):
    """One program to verify: a `main.tf`, and whatever other files its module and its local modules have."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    text: ProgramText = ""
    """The text of `main.tf`."""
    files: Annotated[dict[str, ProgramText], Field(max_length=100)] = {}
    """More files by path, for example `variables.tf` or `modules/network/main.tf`."""
    asked: IntentSpec | None = None
    """What Intent looks for in the program."""
    rego: Annotated[str, Field(max_length=200_000)] | None = None
    """A policy that Intent asks of the plan, as IaC-Eval writes them: no rule of it may be false."""

    @field_validator("files")
    @classmethod
    def _can_be_written(cls, files: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name in files:
            if len(name) > MAX_FILE_NAME or not FILE_NAME.fullmatch(name):
                raise PydanticCustomError("file_name", FILE_NAME_WORDS, {"name": repr(name[:60])})
        if "main.tf" in files and info.data.get("text"):
            raise PydanticCustomError("file_twice", "'main.tf' is given twice: here and as `text`")
        return files


class Diagnostic(WireModel):
    """One finding, worded for the author of the program."""

    code: str
    """A stable CamelCase class, for example `UnsupportedArgument`."""
    message: str
    line: int | None = None
    hint: str | None = None
    file: str | None = None
    """The file of the program; None where the finding has no place of its own."""


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
    seconds: float = 0
    """Its share of the time that its stages took."""
    rewritten: str | None = None
    """`main.tf` after the house-policy rewrite; only when the request asked for it and the program parses."""
    rewritten_files: dict[str, str] = {}
    """The other files after the rewrite."""

    def stage_passed(self, stage: Stage) -> bool:
        """Say whether `stage` was reached and passed."""
        return any(r.stage == stage and r.passed for r in self.stages)


def stages_without_plan(policy: HousePolicy | None) -> list[Stage]:
    """Return the stages for a program without a suite row, but for Plan: validity, and `policy` where there is one."""
    return [*VALIDITY, *([Stage.POLICY] if policy else [])]


def _asked_for(request: dict[str, Any]) -> list[Stage]:
    """Return those of the gate's stages for which a request has something to ask."""
    asking = any(program.asked is not None or program.rego is not None for program in request["programs"])
    left_out = {Stage.POLICY: request["policy"] is None and not request["packs"], Stage.INTENT: not asking}
    return [stage for stage in GATE if not left_out.get(stage)]


class VerifyRequest(WireModel):
    programs: Annotated[list[Program], Field(max_length=5000)]
    policy: HousePolicy | None = None
    packs: Annotated[list[Annotated[str, Field(max_length=200_000)]], Field(max_length=20)] = []
    """Rego modules that Policy asks of the plan too: what their `deny` or `violation` hold breaks the policy."""
    stages: Annotated[list[Stage], Field(min_length=1)] = Field(default_factory=_asked_for)
    """Stages to run, in the order of `Stage`; those of the gate where none is named. Policy needs `policy` or `packs`;
    Intent passes a row that asks nothing; Plan needs Validate; Security, `packs`, and Intent where a row has `rego`,
    need Plan."""
    rewrite: bool = False
    """Apply the house policy by syntax tree first, verify the result and return it (the *served* form)."""


class Toolchain(WireModel):
    """The binaries that judged; part of provenance."""

    terraform: str
    """Product and version, for example `terraform 1.11.4`."""
    providers: dict[str, str] = {}
    """Provider source address to version."""
    packs: dict[str, str] = {}
    """Policy pack that the verifier was started with to the sha256 of its text."""


class VerifyResponse(WireModel):
    verdicts: list[ProgramVerdict]
    seconds: float
    toolchain: Toolchain
