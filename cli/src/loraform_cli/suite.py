"""Suites in `loraform verify`: reads their rows, and prints verdicts and rates by stage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loraform_api.verification import Program, ProgramVerdict, Stage, VerifyResponse
from loraform_cli import iac_eval
from loraform_cli.inputs import InputError, first_error, read_text

SHOWN_TEXT = 60


def read_suite(path: Path, field: str) -> list[Program]:
    """Return the programs in `field` of each row; a dot in it selects a field of an object (`raw.Candidate`).

    A `.csv` file is in IaC-Eval's format, with `field` as column; other files and standard input (`-`) are JSON lines.
    """
    text = read_text(path, "--suite ").removeprefix("\ufeff")
    try:
        csv = path.suffix.lower() == ".csv"
        programs = iac_eval.read_csv(text, str(path), field) if csv else list(_rows(text, path, field))
    except iac_eval.SuiteError as error:
        raise InputError(f"--suite {error}") from error
    if not programs:
        raise InputError(f"--suite {path}: the file has no rows")
    return programs


def _rows(text: str, path: Path, field: str) -> Iterator[Program]:
    for number, line in enumerate(text.split("\n"), 1):  # `splitlines` also cuts at U+2028, which JSON may hold
        if line.strip():
            yield _program(line, f"{path}:{number}", number, field)


def _program(line: str, location: str, number: int, field: str) -> Program:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{location}: not a JSON object: {line[:SHOWN_TEXT]!r}") from error
    text = _lookup(row, field)
    if not isinstance(text, str):
        keys = ", ".join(sorted(row)) if isinstance(row, dict) else type(row).__name__
        raise InputError(f"{location}: --field {field}: the row has no text there; it has {keys}")
    optional = {"asked": row.get("asked"), "rego": row.get("rego") or None, "files": row.get("files") or {}}
    name = number if row.get("id") is None else row["id"]
    try:
        return Program.model_validate({"id": str(name), "text": text, **optional})
    except ValidationError as error:
        raise InputError(f"{location}: {first_error(error)}") from error


def _lookup(row: Any, field: str) -> Any:
    for key in field.split("."):
        row = row.get(key) if isinstance(row, dict) else None
    return row


def json_lines(response: VerifyResponse) -> Iterator[str]:
    """Yield one JSON object per row: id, result, each reached stage, and the text if it was rewritten."""
    for verdict in response.verdicts:
        stages = {str(r.stage): r.model_dump(mode="json", exclude={"stage"}) for r in verdict.stages}
        result = {"id": verdict.id, "passed": verdict.passed, "stages": stages, "seconds": verdict.seconds}
        rewritten = verdict.model_dump(include={"rewritten", "rewritten_files"}, exclude_defaults=True, by_alias=True)
        yield json.dumps({**result, **rewritten})


def counts(verdicts: Sequence[ProgramVerdict], stages: Sequence[Stage]) -> Iterator[str]:
    """Yield the share of all rows that passed each stage; a stage that was not reached has not passed."""
    for stage in (stage for stage in Stage if stage in stages):
        passed = sum(verdict.stage_passed(stage) for verdict in verdicts)
        yield f"{stage:<10} {passed:>6} of {len(verdicts)}  {100 * passed / len(verdicts):5.1f} %"
