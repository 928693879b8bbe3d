"""Reads the rows of evaluation suites. Invalid rows are errors and never dropped: suites decide the promotion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import from_json

from loraform_api.finetunejob import SuiteSpec
from loraform_api.sources import FileFormat
from loraform_api.verification import MAX_TEXT, HousePolicy, IntentSpec, Stage
from loraform_engine.conversation import row_question
from loraform_engine.program import program_in
from loraform_trainer.prepare.dataset.canonical import normal_form, normal_prompt, tree_of
from loraform_trainer.prepare.dataset.decontaminate import HeldOut
from loraform_trainer.prepare.dataset.readers import BadRow, Record, format_of, read
from loraform_trainer.runtime.errors import DatasetInvalidError
from loraform_verifier.hcl.parse import parse
from loraform_verifier.policy.rewrite import rewrite

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Label = int | Annotated[str, Field(max_length=100)]


class SuiteLine(BaseModel):
    """A row as it is in a suite's file; unknown columns are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: Annotated[str, Field(min_length=1, max_length=150)]
    instruction: Text
    input: Text | None = None
    asked: IntentSpec | None = None
    rego: Text | None = None
    """A Rego policy that stage Intent evaluates on the plan."""
    difficulty: Label | None = None
    cluster: Label | None = None
    """Rows of a suite with the same cluster are variants of one task."""
    reference: Text | None = None
    """A correct answer. Never trained on nor shown to a model: it is used for its resource types, and to drop similar
    training rows."""

    @field_validator("reference")
    @classmethod
    def _program(cls, value: str | None) -> str | None:
        return None if value is None else program_in(value).text

    @field_validator("instruction")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value

    @model_validator(mode="after")
    def _divided(self) -> Self:
        """Divide instruction and input as in a request to the served model."""
        question = row_question(self.instruction, self.input or "")
        self.instruction, self.input = question.instruction, question.input
        return self


COLUMNS = frozenset(SuiteLine.model_fields)


@dataclass(frozen=True)
class SuiteRow:
    """A row of a suite, with the suite's name and stages."""

    suite: str
    line: SuiteLine
    stages: list[Stage]

    @property
    def question(self) -> tuple[bytes, str, str]:
        """Prompt and expectations. No two rows may have the same, because one answer would count twice."""
        line = self.line
        prompt = normal_prompt(line.instruction, line.input or "")
        return prompt, (line.asked or IntentSpec()).model_dump_json(), line.rego or ""

    @property
    def lacks_plan(self) -> bool:
        """Whether stage Intent has a Rego policy but stage Plan, which makes the plan for it, is absent."""
        return bool(self.line.rego) and Stage.INTENT in self.stages and Stage.PLAN not in self.stages

    @property
    def types(self) -> list[str]:
        """Resource types that an answer should have: those of `asked`, else those of the reference."""
        if self.line.asked is not None and self.line.asked.types:
            return sorted(set(self.line.asked.types))
        return sorted({block.labels[0][:64] for block in parse(self.line.reference or "").resources()})

    def wire(self) -> dict[str, object]:
        """Return the row as stage `evaluate` reads it, without its reference."""
        return {
            "id": self.line.id,
            "suite": self.suite,
            "instruction": self.line.instruction,
            "input": self.line.input or "",
            "asked": None if self.line.asked is None else self.line.asked.model_dump(mode="json"),
            "stages": [str(stage) for stage in self.stages],
            "rego": self.line.rego or None,
            "types": self.types,
            "difficulty": _label(self.line.difficulty),
            "cluster": _label(self.line.cluster),
        }


def suite_lines(path: Path, name: str, file_format: FileFormat | None) -> Iterator[tuple[int, SuiteLine]]:
    """Yield the rows of a suite's file with their numbers; raises DatasetInvalidError naming the suite as `name`."""
    try:
        for number, record in read(path, format_of(path.name, file_format), COLUMNS):
            if isinstance(record, BadRow):
                raise DatasetInvalidError(f"line {number}: {record.reason}")
            try:
                yield number, SuiteLine.model_validate({key: _cell(key, record) for key in COLUMNS & record.keys()})
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False, include_context=False)[0]
                field = ".".join(str(part) for part in first["loc"])
                raise DatasetInvalidError(f"line {number}: {field}: {first['msg']}") from error
    except DatasetInvalidError as error:
        raise DatasetInvalidError(f"{name}, {error.message}") from error


def held_out(line: SuiteLine, policy: HousePolicy | None) -> HeldOut:
    """Return the texts that training rows are compared with; `policy` is the one written into their responses."""
    prompt = normal_prompt(line.instruction, line.input or "")
    document = parse(line.reference or "")
    if not document.blocks:
        return HeldOut(line.id, prompt)
    if policy is None:
        return HeldOut(line.id, prompt, normal_form(document.source, document.root))
    rewritten = rewrite(document, policy)
    return HeldOut(line.id, prompt, normal_form(rewritten.encode("utf-8"), tree_of(rewritten)))


def _cell(key: str, record: Record) -> Any:
    """Return a cell as in JSON: CSV has no null and holds `asked` as text, Parquet adds null for absent fields."""
    value = record[key]
    if key == "asked":
        if isinstance(value, str):
            try:
                value = from_json(value) if value else None
            except ValueError:
                return value  # the pydantic model reports it
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
    return None if value == "" and key not in ("id", "instruction") else value


def _label(value: int | str | None) -> str:
    return "" if value is None else str(value)


def suite_rows(suites: list[tuple[SuiteSpec, Path]]) -> list[SuiteRow]:
    """Return the rows of all suites, each read from its file; raises DatasetInvalidError."""
    location_by_id: dict[str, str] = {}
    questions: dict[tuple[bytes, str, str], str] = {}
    rows = []
    for suite, path in suites:
        for number, line in suite_lines(path, f"suite {suite.name!r}", suite.file_format):
            location = f"suite {suite.name!r}, line {number}"
            if line.id in location_by_id:
                raise DatasetInvalidError(f"{location}: id {line.id!r} is already used in {location_by_id[line.id]}")
            location_by_id[line.id] = location
            row = SuiteRow(suite.name, line, [stage for stage in Stage if stage in suite.stages])
            first = questions.setdefault(row.question, line.id)
            if first != line.id:
                raise DatasetInvalidError(
                    f"{location}: `instruction`, `input`, `asked` and `rego` of row {line.id!r} are the same as in row "
                    f"{first!r}; remove one of the rows or change one of these columns"
                )
            if row.lacks_plan:
                raise DatasetInvalidError(
                    f"{location}: `rego` needs a plan, but the suite's `stages` lack Plan; add Plan or remove Intent"
                )
            rows.append(row)
    if not rows:
        raise DatasetInvalidError("spec.evaluation.suites: the suites have no rows")
    return rows
