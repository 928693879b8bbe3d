"""Requests and responses of the verifier; the house policy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from loraform_api.meta import ApiModel, Name, ObjectName, WireModel, keyed_by


class Stage(StrEnum):
    """Stages of verification, in order. A row passes when every requested stage passed."""

    FORMAT = "Format"
    """Formatted as by `terraform fmt`. A failure does not end the verification: most hand-written programs fail."""
    PARSE = "Parse"
    SCHEMA = "Schema"
    """Types and arguments exist in the provider's schema; no Terraform process is started."""
    VALIDATE = "Validate"
    """`terraform validate`."""
    PLAN = "Plan"
    """`terraform plan` without cloud account and network."""
    POLICY = "Policy"
    """The house policy and its packs; no literal secret, which is the policy of every house."""
    INTENT = "Intent"
    SECURITY = "Security"


VALIDITY = (Stage.PARSE, Stage.VALIDATE)
"""Stages that decide whether a program is valid Terraform."""
SERVED = (*VALIDITY, Stage.PLAN, Stage.POLICY)
"""Stages of a served answer, for which there is no suite row."""
GATE = (*SERVED, Stage.INTENT)
"""Default stages of a suite."""
WITHOUT_PLAN = (*VALIDITY, Stage.POLICY)
"""Those of `SERVED` that need no plan, which takes seconds."""
ON_PLAN = (Stage.SECURITY,)
"""Stages that can only read a plan."""
WITH_REFERENCE = (Stage.INTENT,)
"""Stages that compare a program with a suite row; their findings would give the expected answer away."""

EMPTY = "Empty"
"""Code of the finding on a program without any block or argument; it fails the first stage, and so never passes."""
MAX_FILE_NAME = 200
FILE_NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_-]*/){0,4}[A-Za-z0-9_][A-Za-z0-9_.-]*\.tf")
FILE_NAME_RULE = (
    "{name} cannot be a file's path: it may have 4 folders like modules/network/main.tf, no space, 200 characters, "
    "and ASCII letters and digits, `_`, `-`, dots in its last part, ending in .tf"
)
MAX_STAGES = 100
"""Names of stages in a request; one that is named again runs once."""
MAX_TEXT = 200_000
"""Characters of one text: a file of a program, a Rego module, an answer, the input of a prompt."""
MAX_FILES = 100
"""Files of a program beside its `text`."""
MAX_PROGRAM_BYTES = 1_000_000
"""Bytes of all files of a program in UTF-8. Their syntax trees are in memory together, up to 540 times as large."""
MAX_PROGRAMS = 5000
MAX_REQUEST_BYTES = 16_000_000
"""Bytes of all files of all programs of a request in UTF-8."""
ProgramText = Annotated[str, Field(max_length=MAX_TEXT)]
TagKey = Annotated[str, Field(min_length=1, max_length=128)]
TagValue = Annotated[str, Field(max_length=256)]


class DenyRule(ApiModel):
    """A resource type, or a value of an argument, that is not allowed."""

    name: Name
    """Name of the rule, shown in findings."""
    types: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9_*]+$")]],
        Field(min_length=1, max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Resource types; `*` matches any characters: `aws_iam_access_key`, `aws_db_*`."""
    argument: Annotated[str, Field(max_length=200, pattern=r"^([a-z0-9_]+(\.[a-z0-9_]+)*)?$")] = ""
    """An argument, with dots into nested blocks: `ingress.cidr_blocks`. Empty: the resource itself is denied."""
    values: Annotated[
        list[Annotated[str, Field(max_length=256)]],
        Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Values that the argument, or an element of its list, must not have. Empty: the argument must not be set."""
    message: Annotated[str, Field(max_length=300)] = ""
    """What to do instead, shown in findings."""


class PackKey(ApiModel):
    name: ObjectName
    """Name of a ConfigMap in the same namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key whose value is a Rego module."""


class PolicyPack(ApiModel):
    """Rules in Rego for each plan."""

    name: Name
    """Name of the pack, shown in findings and provenance."""
    config_map: PackKey
    """ConfigMap key with the module."""


class DefaultTags(StrEnum):
    """Whether the provider's `default_tags` count as tags of a resource."""

    IGNORED = "Ignored"
    COUNTED = "Counted"


class HousePolicy(ApiModel):
    """House policy: what every resource must have. Preparation, evaluation and serving use the same policy."""

    comment: Annotated[str, Field(max_length=200, pattern=r"^(#.*)?$")] = ""
    """A comment line that must be directly above each resource block, starting with `#`. Empty: none is required."""
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=50)] = {}
    """Tags that every taggable resource must have, with these literal values."""
    required_tags: Annotated[
        list[TagKey], Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = []
    """Tags that every taggable resource must have, with any value; the rewrite cannot add them."""
    default_tags: DefaultTags = DefaultTags.IGNORED
    """Whether a tag may also come from the provider's `default_tags`."""
    deny: Annotated[list[DenyRule], Field(max_length=50, json_schema_extra=keyed_by("name"))] = []
    """Resource types and argument values that are not allowed."""
    packs: Annotated[list[PolicyPack], Field(max_length=10, json_schema_extra=keyed_by("name"))] = []
    """Rules in Rego: each result of `deny` or `violation` in any package violates the policy."""


class IntentSpec(WireModel):
    """What a suite row's prompt names literally; the program's syntax tree must contain all of it."""

    types: list[str] = []
    """Resource types, for example `aws_s3_bucket`."""
    names: list[str] = []
    """Names that must occur as a block label or as a whole string literal."""
    values: list[str] = []
    """Literal attribute values (string, number or bool, written as in Terraform without quotes)."""


class Program(WireModel):
    """One program to verify: `main.tf`, and other files of its module and its local modules."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    text: ProgramText = ""
    """Text of `main.tf`."""
    files: Annotated[dict[str, ProgramText], Field(max_length=MAX_FILES)] = {}
    """More files by path, for example `variables.tf` or `modules/network/main.tf`."""
    asked: IntentSpec | None = None
    """Contents that stage Intent requires."""
    rego: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    """Rego policy that stage Intent checks on the plan, in the form of IaC-Eval: no rule may be false."""
    prompt: Annotated[str, Field(max_length=500_000)] = ""
    """What the caller asked, with its input: stage Policy takes no value that stands in it for a secret."""

    @field_validator("files")
    @classmethod
    def _have_valid_names(cls, files: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name in files:
            if len(name) > MAX_FILE_NAME or not FILE_NAME.fullmatch(name):
                raise PydanticCustomError("file_name", FILE_NAME_RULE, {"name": repr(name[:60])})
        if "main.tf" in files and info.data.get("text"):
            raise PydanticCustomError("file_twice", "'main.tf' is given twice: here and as `text`")
        return files

    @property
    def size(self) -> int:
        """Bytes of all files in UTF-8."""
        return sum(len(text.encode()) for text in (self.text, *self.files.values()))

    @model_validator(mode="after")
    def _is_not_too_large(self) -> Self:
        if (size := self.size) > MAX_PROGRAM_BYTES:
            limits = {"size": size, "limit": MAX_PROGRAM_BYTES}
            message = "`text` and `files` have {size} bytes in all, allowed are {limit}: split the program"
            raise PydanticCustomError("program_size", message, limits)
        return self


def requests_of(programs: Sequence[Program], most: int) -> Iterator[Sequence[Program]]:
    """Yield programs in their order, in parts that fit into a request: at most `most`, and not too many bytes."""
    start, size = 0, 0
    for end, program in enumerate(programs):
        if end - start == most or size + program.size > MAX_REQUEST_BYTES:
            yield programs[start:end]
            start, size = end, 0
        size += program.size
    if start < len(programs):
        yield programs[start:]


class Diagnostic(WireModel):
    """One finding for the author of the program."""

    code: str
    """Stable name in CamelCase, for example `UnsupportedArgument`."""
    message: str
    line: int | None = None
    hint: str | None = None
    file: str | None = None
    """File of the program; None for a finding without a location."""


class StageResult(WireModel):
    """Result of one stage. An inconclusive stage (time-out, blocked by policy, provider missing) has not passed."""

    stage: Stage
    passed: bool
    inconclusive: bool = False
    diagnostics: list[Diagnostic] = []


class ProgramVerdict(WireModel):
    """Result of one program. Stages after the first failed one are absent, and have not passed."""

    id: str
    passed: bool
    stages: list[StageResult]
    seconds: float = 0
    """The program's share of its stages' time."""
    rewritten: str | None = None
    """`main.tf` after the house-policy rewrite; only if it was requested and the program parses."""
    rewritten_files: dict[str, str] = {}
    """The other files after the rewrite."""
    raw_passed: bool | None = None
    """With `judgeRaw`: whether the program passes every stage as it was written, too; none if that is inconclusive."""

    def stage_passed(self, stage: Stage) -> bool:
        """Return whether `stage` was reached and passed."""
        return any(r.stage == stage and r.passed for r in self.stages)

    @property
    def decided(self) -> bool | None:
        """Whether the program passed; none if a stage was inconclusive, so that another run may decide otherwise."""
        return None if any(stage.inconclusive for stage in self.stages) else self.passed


def _default_stages(request: dict[str, Any]) -> list[Stage]:
    """Return the stages of the gate that a request has data for."""
    has_intent = any(program.asked is not None or program.rego is not None for program in request["programs"])
    return [stage for stage in GATE if stage is not Stage.INTENT or has_intent]


class VerifyRequest(WireModel):
    """A request. Its lists end at their first error, so that millions of wrong members need no memory."""

    programs: Annotated[list[Program], Field(max_length=MAX_PROGRAMS, fail_fast=True)]
    policy: HousePolicy | None = None
    packs: Annotated[list[Annotated[str, Field(max_length=MAX_TEXT)]], Field(max_length=20, fail_fast=True)] = []
    """Rego modules that stage Policy checks on the plan: each result of `deny` or `violation` violates the policy."""
    stages: Annotated[list[Stage], Field(min_length=1, max_length=MAX_STAGES, fail_fast=True)] = Field(
        default_factory=_default_stages
    )
    """Stages to run, in the order of `Stage`; by default those of the gate that the request has data for. Policy
    without `policy` and `packs` looks for literal secrets alone; Intent passes a program without `asked` and `rego`;
    Plan needs Validate; Security, `packs` and Intent with `rego` need Plan."""
    rewrite: bool = False
    """Apply the house policy to the syntax tree first, then verify and return the result (the *served* form)."""
    judge_raw: bool = False
    """With `rewrite`: verify the programs as they were written, too, in the same runs."""
    within: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Seconds in which the caller needs the answer. The service batches requests that have it, and refuses those that
    it cannot answer by then."""
    caller: Annotated[str, Field(max_length=200)] = ""
    """Who asks, as an opaque name. The service shares verdicts of equal programs within one caller only."""

    @field_validator("programs")
    @classmethod
    def _are_not_too_large(cls, programs: list[Program]) -> list[Program]:
        if (size := sum(program.size for program in programs)) > MAX_REQUEST_BYTES:
            limits = {"size": size, "limit": MAX_REQUEST_BYTES}
            message = "their files have {size} bytes in all, allowed are {limit}: send fewer programs at a time"
            raise PydanticCustomError("request_size", message, limits)
        return programs


class Toolchain(WireModel):
    """The binaries that verified; part of provenance."""

    terraform: str
    """Product and version, for example `terraform 1.11.4`."""
    providers: dict[str, str] = {}
    """Provider source address to version."""
    packs: dict[str, str] = {}
    """Name to sha256 of the policy packs that the verifier was started with."""


class VerifyResponse(WireModel):
    verdicts: list[ProgramVerdict]
    seconds: float
    toolchain: Toolchain
