"""Converts records of files into training rows, by the row format of their source.

Instruction and input are divided as in a request to the served model (`loraform_engine.conversation`).
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from loraform_api.dataset import Columns, RowFormat
from loraform_api.verification import MAX_TEXT
from loraform_engine.conversation import Question, row_question
from loraform_engine.program import THOUGHT, program_in
from loraform_trainer.prepare.dataset.readers import Record
from loraform_trainer.prepare.dataset.rows import TrainingRow

COLUMNS_BY_FORMAT = {
    RowFormat.INSTRUCTION: ("instruction", "input", "response"),
    RowFormat.PROMPT_COMPLETION: ("prompt", "completion"),
    RowFormat.CHAT: ("messages",),
}
"""Fields of `Columns` that name a format's columns."""
ALLOWED_TURNS = "allowed are an optional `system` turn, one `user` turn and one `assistant` turn, in this order"
MAX_TURNS_SHOWN = 6


class UnusableError(ValueError):
    """The record is not a valid training row; the message says why."""


def columns_read(row_format: RowFormat, columns: Columns) -> frozenset[str]:
    """Return the names of the columns that a row format reads."""
    return frozenset(getattr(columns, name) for name in COLUMNS_BY_FORMAT[row_format])


def row_of(record: Record, row_format: RowFormat, columns: Columns, row_id: str) -> TrainingRow:
    """Return the record as a training row; raises UnusableError."""
    match row_format:
        case RowFormat.INSTRUCTION:
            instruction, response = _text(record, columns.instruction), _text(record, columns.response)
            question = row_question(instruction, _optional(record, columns.input))
            return _row(row_id, question, response, columns.response)
        case RowFormat.PROMPT_COMPLETION:
            prompt, completion = _text(record, columns.prompt), _text(record, columns.completion)
            return _row(row_id, row_question(prompt), completion, columns.completion)
        case RowFormat.CHAT:
            return _chat(record, columns.messages, row_id)


def _row(row_id: str, question: Question, response: str, name: str) -> TrainingRow:
    """Return the row; its response is the program in the text of field `name`, by the rule for a model's answers."""
    program = program_in(response)
    if program.truncated:
        raise UnusableError(f"{name}: has a {THOUGHT} that is not closed")
    if not program.text.strip():
        raise UnusableError(f"{name}: has no program beside thoughts")
    return TrainingRow(row_id, question.instruction, question.input, program.text)


def _text(record: Record, name: str) -> str:
    if name not in record:
        raise UnusableError(f"{name}: the column is missing; columns: {', '.join(sorted(map(str, record)))[:100]}")
    return _checked(record[name], name)


def _optional(record: Record, name: str) -> str:
    value = record.get(name)
    return _checked(value, name, blank=True) if value is not None else ""


def _checked(value: Any, name: str, *, blank: bool = False) -> str:
    if not isinstance(value, str):
        raise UnusableError(f"{name}: must be text")
    if not blank and not value.strip():
        raise UnusableError(f"{name}: must not be empty")
    if len(value) > MAX_TEXT:
        raise UnusableError(f"{name}: {len(value)} characters, more than {MAX_TEXT}")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise UnusableError(f"{name}: is not valid Unicode text")
    return value


def _chat(record: Record, name: str, row_id: str) -> TrainingRow:
    if name not in record:
        raise UnusableError(f"{name}: the column is missing")
    messages = record[name]
    if isinstance(messages, str):  # a CSV file holds them as JSON text
        try:
            messages = from_json(messages)
        except ValueError as error:
            raise UnusableError(f"{name}: not JSON: {error}") from error
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise UnusableError(f"{name}: must be a list of objects with `role` and `content`")
    roles = [str(message.get("role"))[:20] for message in messages]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        shown = ", ".join(roles[:MAX_TURNS_SHOWN]) + (", …" if len(roles) > MAX_TURNS_SHOWN else "")
        raise UnusableError(f"{name}: the turns are [{shown}]; {ALLOWED_TURNS}")
    *system, user, answer = (_checked(m.get("content"), f"{name}.content") for m in messages)
    question = row_question(user, system=system)
    _checked(question.instruction, name)
    return _row(row_id, question, answer, f"{name}.content")
