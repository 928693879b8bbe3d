"""The field `dataset` of a FineTuneJob: sources, checks, deduplication and decontamination of training rows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from loraform_api.meta import ApiModel, keyed_by, rule
from loraform_api.sources import DataSource

ColumnName = Annotated[str, Field(min_length=1, max_length=128)]


class RowFormat(StrEnum):
    """`Instruction`: instruction, input, response. `PromptCompletion`: prompt, completion. `Chat`: messages."""

    INSTRUCTION = "Instruction"
    PROMPT_COMPLETION = "PromptCompletion"
    CHAT = "Chat"


class Columns(ApiModel):
    """Names of the columns where they differ from the format's own."""

    instruction: ColumnName = "instruction"
    input: ColumnName = "input"
    response: ColumnName = "response"
    prompt: ColumnName = "prompt"
    completion: ColumnName = "completion"
    messages: ColumnName = "messages"


class TrainingSource(DataSource):
    """A named file of training rows."""

    format: RowFormat = RowFormat.INSTRUCTION
    """Format of the rows."""
    columns: Columns = Columns()
    """Names of the columns to read."""


class OnFinding(StrEnum):
    """`Drop` drops and counts the row, `Fail` fails the run, `Off` skips the check."""

    DROP = "Drop"
    FAIL = "Fail"
    OFF = "Off"


class PolicyTeaching(StrEnum):
    REWRITE = "Rewrite"
    REQUIRE = "Require"
    OFF = "Off"


class DatasetChecks(ApiModel):
    """Checks of each row, in this order."""

    typography: OnFinding = OnFinding.DROP
    """Responses that do not parse because of typographic quotes, dashes or spaces."""
    syntax: OnFinding = OnFinding.DROP
    """Responses that are not Terraform, or have no block."""
    secrets: OnFinding = OnFinding.DROP
    """Rows with access keys, private keys, tokens, plain passwords, or cloud account ids that are not examples."""
    validity: OnFinding = OnFinding.DROP
    """Responses that fail `terraform validate`; those that need a missing provider are kept and counted."""
    policy: PolicyTeaching = PolicyTeaching.REWRITE
    """`Rewrite` adds the house policy's comment and tags to responses that lack them, `Require` drops those responses,
    `Off` does neither."""
    over_long: Literal[OnFinding.DROP, OnFinding.FAIL] = OnFinding.DROP
    """Rows of more than `training.maxSequenceLength` tokens; they are never cut."""
    max_dropped_percent: Annotated[int, Field(ge=0, le=100)] = 30
    """Largest share of the rows, in percent, that all checks together may drop; more fails the run."""


class Deduplicate(ApiModel):
    """Duplicate rows; the first of each group is kept."""

    exact: OnFinding = OnFinding.DROP
    """Rows with equal prompt and program, ignoring comments and white space."""
    near: OnFinding = OnFinding.DROP
    """Rows whose prompt and program share most runs of five tokens with an earlier row's, literals included."""
    threshold_percent: Annotated[int, Field(ge=50, le=99)] = 70
    """Jaccard similarity, in percent, from which two rows are near."""


class Decontaminate(ApiModel):
    """Training rows that also occur in an evaluation suite."""

    suites: OnFinding = OnFinding.DROP
    """Rows whose normalised prompt or program equals, or is near, that of a suite's row, literals included."""
    threshold_percent: Annotated[int, Field(ge=50, le=100)] = 80
    """Jaccard similarity, in percent, from which a row is near; rows from 50 on are reported."""


class RepairExamples(ApiModel):
    """Additional rows for repair: the input is a broken program with its diagnostics, the response the verified one."""

    percent: Annotated[int, Field(ge=0, le=50)] = 0
    """Repair rows per hundred training rows."""


VERIFIED = rule(
    "self.repairExamples.percent == 0 || self.checks.validity != 'Off'",
    "`checks.validity` must not be 'Off' where `repairExamples.percent` is above 0: repairs need verified rows",
    field_path=".repairExamples.percent",
)


class DatasetSpec(ApiModel):
    model_config = {"json_schema_extra": {"x-kubernetes-validations": [VERIFIED]}}

    sources: Annotated[list[TrainingSource], Field(min_length=1, max_length=16, json_schema_extra=keyed_by("name"))]
    """Files of rows, read in this order."""
    checks: DatasetChecks = DatasetChecks()
    """Checks of the rows."""
    deduplicate: Deduplicate = Deduplicate()
    """Removal of duplicate rows."""
    decontaminate: Decontaminate = Decontaminate()
    """Removal of rows that occur in an evaluation suite."""
    repair_examples: RepairExamples = RepairExamples()
    """Additional rows for repair."""
    validation_percent: Annotated[int, Field(ge=0, le=50)] = 5
    """Share of the rows used for the validation loss instead of training, in percent; at most 500 rows. Near rows are
    never split."""
    min_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    """Fewest rows that must remain after all checks; fewer fail the run before training."""
