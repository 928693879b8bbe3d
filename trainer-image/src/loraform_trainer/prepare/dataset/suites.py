"""Rows of evaluation suites. A suite decides, so nothing in it is dropped: what is wrong is an error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from loraform_api.finetunejob import SuiteSpec
from loraform_api.sources import FileFormat
from loraform_api.verification import HousePolicy, IntentSpec, Stage
from loraform_trainer.prepare.dataset.canonical import normal_form, normal_prompt, tree_of
from loraform_trainer.prepare.dataset.decontaminate import HeldOut
from loraform_trainer.prepare.dataset.readers import BadRow, Record, format_of, read
from loraform_trainer.runtime.errors import DatasetInvalidError
from loraform_trainer.runtime.rows import SuiteLine
from loraform_verifier.hcl.parse import parse
from loraform_verifier.policy.rewrite import rewrite

COLUMNS = frozenset(SuiteLine.model_fields)


@dataclass(frozen=True)
class SuiteRow:
    suite: str
    line: SuiteLine
    stages: list[Stage]

    @property
    def question(self) -> tuple[bytes, str, str]:
        """What is asked and looked for; an answer to two rows that are equal in it would count as evidence twice."""
        line = self.line
        prompt = normal_prompt(line.instruction, line.input or "")
        return prompt, (line.asked or IntentSpec()).model_dump_json(), line.rego or ""

    @property
    def lacks_plan(self) -> bool:
        """Intent has a question to a plan that is not made."""
        return bool(self.line.rego) and Stage.INTENT in self.stages and Stage.PLAN not in self.stages

    @property
    def types(self) -> list[str]:
        """Resource types that an answer should have: what the row asks for, else those of its reference."""
        if self.line.asked is not None and self.line.asked.types:
            return sorted(set(self.line.asked.types))
        return sorted({block.labels[0][:64] for block in parse(self.line.reference or "").resources()})

    def wire(self) -> dict[str, object]:
        """Return the row as `evaluate` reads it: without its reference."""
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
    """Yield the rows of a suite's file with their numbers; raises DatasetInvalidError, in which `name` names it."""
    try:
        for number, record in read(path, format_of(path.name, file_format), COLUMNS):
            if isinstance(record, BadRow):
                raise DatasetInvalidError(f"line {number}: {record.reason}")
            try:
                yield number, SuiteLine.model_validate({key: _cell(key, record) for key in COLUMNS & record.keys()})
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False, include_context=False)[0]
                place = ".".join(str(part) for part in first["loc"])
                raise DatasetInvalidError(f"line {number}: {place}: {first['msg']}") from error
    except DatasetInvalidError as error:
        raise DatasetInvalidError(f"{name}, {error.message}") from error


def held_out(line: SuiteLine, policy: HousePolicy | None) -> HeldOut:
    """Return what training rows are compared with; `policy` is what their answers were taught."""
    prompt = normal_prompt(line.instruction, line.input or "")
    document = parse(line.reference or "")
    if not document.blocks:
        return HeldOut(line.id, prompt)
    if policy is None:
        return HeldOut(line.id, prompt, normal_form(document.source, document.root))
    taught = rewrite(document, policy)
    return HeldOut(line.id, prompt, normal_form(taught.encode("utf-8"), tree_of(taught)))


def _cell(key: str, record: Record) -> Any:
    """Return a cell as JSON has it: CSV has no null and holds `asked` as text, Parquet fills what a struct lacks."""
    value = record[key]
    if key == "asked":
        if isinstance(value, str):
            try:
                value = from_json(value) if value else None
            except ValueError:
                return value  # refused by the model, in its words
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
    return None if value == "" and key not in ("id", "instruction") else value


def _label(value: int | str | None) -> str:
    return "" if value is None else str(value)


def suite_rows(suites: list[tuple[SuiteSpec, Path]]) -> list[SuiteRow]:
    """Read the rows of all suites, each from its file; raises DatasetInvalidError."""
    seen: dict[str, str] = {}
    questions: dict[tuple[bytes, str, str], str] = {}
    rows = []
    for suite, path in suites:
        for number, line in suite_lines(path, f"suite {suite.name!r}", suite.file_format):
            place = f"suite {suite.name!r}, line {number}"
            if line.id in seen:
                raise DatasetInvalidError(f"{place}: id {line.id!r} is already used in {seen[line.id]}")
            seen[line.id] = place
            row = SuiteRow(suite.name, line, [stage for stage in Stage if stage in suite.stages])
            first = questions.setdefault(row.question, line.id)
            if first != line.id:
                raise DatasetInvalidError(
                    f"{place}: `instruction`, `input`, `asked` and `rego` of row {line.id!r} are those of row "
                    f"{first!r}: remove one, or write in what they differ"
                )
            if row.lacks_plan:
                raise DatasetInvalidError(
                    f"{place}: `rego` asks the plan, and the suite's `stages` lack Plan: add it, or leave out Intent"
                )
            rows.append(row)
    if not rows:
        raise DatasetInvalidError("spec.evaluation.suites: the suites have no rows")
    return rows
