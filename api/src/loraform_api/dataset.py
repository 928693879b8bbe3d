"""The `dataset` of a FineTuneJob: its sources, and what is checked before a GPU is taken."""

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
    """What its rows look like."""
    columns: Columns = Columns()
    """Names of the columns that are read."""


class OnFinding(StrEnum):
    """What happens to a row that a check objects to: it is dropped and counted, it fails the run, or nothing."""

    DROP = "Drop"
    FAIL = "Fail"
    OFF = "Off"


class PolicyTeaching(StrEnum):
    REWRITE = "Rewrite"
    REQUIRE = "Require"
    OFF = "Off"


class DatasetChecks(ApiModel):
    """Checks of each row, in this order. What remains is valid Terraform that the house wants to see."""

    typography: OnFinding = OnFinding.DROP
    """Answers that do not parse because of typographic quotes, dashes or spaces (a word processor's copy)."""
    syntax: OnFinding = OnFinding.DROP
    """Answers that are not Terraform, or have no block."""
    secrets: OnFinding = OnFinding.DROP
    """Rows with access keys, private keys, tokens, plain passwords, or cloud account ids that are not examples."""
    validity: OnFinding = OnFinding.DROP
    """Answers that `terraform validate` refuses; what it cannot judge for want of a provider is kept and counted."""
    policy: PolicyTeaching = PolicyTeaching.REWRITE
    """`Rewrite` adds the house policy's comment and tags to answers that lack them, `Require` drops those answers,
    `Off` leaves answers alone."""
    over_long: Literal[OnFinding.DROP, OnFinding.FAIL] = OnFinding.DROP
    """Rows of more than `training.maxSequenceLength` tokens; they are never cut."""
    max_dropped_percent: Annotated[int, Field(ge=0, le=100)] = 30
    """Largest share of the rows read that all checks together may drop; more fails the run, naming the check."""


class Deduplicate(ApiModel):
    """Rows that say the same twice. Of each group the first is kept."""

    exact: OnFinding = OnFinding.DROP
    """Rows with equal prompt and program, comments and white space aside."""
    near: OnFinding = OnFinding.DROP
    """Rows whose prompt and program share most runs of five tokens with an earlier row's, literals included."""
    threshold_percent: Annotated[int, Field(ge=50, le=99)] = 70
    """Jaccard similarity, in percent, from which rows are near."""


class Decontaminate(ApiModel):
    """Training rows that an evaluation suite asks about."""

    suites: OnFinding = OnFinding.DROP
    """Rows whose normalised prompt or program is that of a suite's row, or near it, literals included."""
    threshold_percent: Annotated[int, Field(ge=50, le=100)] = 80
    """Jaccard similarity, in percent, from which a row is near; from 50 on it is reported."""


class RepairExamples(ApiModel):
    """Further rows that teach to repair: a broken program with its diagnostics as input, the verified one as answer."""

    percent: Annotated[int, Field(ge=0, le=50)] = 0
    """Repair rows for every hundred training rows."""


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
    """What is checked before a GPU is taken."""
    deduplicate: Deduplicate = Deduplicate()
    """Repeated rows."""
    decontaminate: Decontaminate = Decontaminate()
    """Rows that would give the evaluation away."""
    repair_examples: RepairExamples = RepairExamples()
    """Rows that teach to repair."""
    validation_percent: Annotated[int, Field(ge=0, le=50)] = 5
    """Share of the rows kept out of training for the validation loss, in percent; at most 500 rows, and near rows are
    always on the same side."""
    min_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    """Fewest rows that must remain after all checks; fewer fail the run before a GPU is taken."""
