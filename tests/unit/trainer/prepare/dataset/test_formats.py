"""Conversion of records into training rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loraform_api.dataset import Columns, RowFormat
from loraform_api.verification import MAX_TEXT
from loraform_trainer.prepare.dataset.formats import UnusableError, columns_read, row_of
from loraform_trainer.prepare.dataset.rows import TrainingRow


def turn(role: Any, content: Any = "text") -> dict[str, Any]:
    return {"role": role, "content": content}


def read(record: dict[str, Any], row_format: RowFormat, **columns: str) -> TrainingRow:
    return row_of(record, row_format, Columns(**columns), "a:1")


def test_instruction_rows_may_have_an_input() -> None:
    assert read({"instruction": "i", "response": "r"}, RowFormat.INSTRUCTION) == TrainingRow("a:1", "i", "", "r")
    record = {"instruction": "i", "input": "in", "response": "r", "more": 1}
    assert read(record, RowFormat.INSTRUCTION) == TrainingRow("a:1", "i", "in", "r")
    assert read({**record, "input": None}, RowFormat.INSTRUCTION).input == ""


def test_columns_may_have_other_names() -> None:
    record = {"question": "i", "output": "r"}
    assert read(record, RowFormat.INSTRUCTION, instruction="question", response="output") == TrainingRow(
        "a:1", "i", "", "r"
    )
    assert columns_read(RowFormat.INSTRUCTION, Columns(response="output")) == {"instruction", "input", "output"}


def test_prompt_completion_rows_have_no_input() -> None:
    assert read({"prompt": "p", "completion": "c"}, RowFormat.PROMPT_COMPLETION) == TrainingRow("a:1", "p", "", "c")


def test_chat_rows_have_one_turn_each_and_an_optional_system_turn() -> None:
    plain = [turn("user", "u"), turn("assistant", "a")]
    assert read({"messages": plain}, RowFormat.CHAT) == TrainingRow("a:1", "u", "", "a")
    whole = [turn("system", "s\n"), *plain]
    assert read({"messages": whole}, RowFormat.CHAT).instruction == "s\n\nu"
    assert read({"messages": json.dumps(whole)}, RowFormat.CHAT).instruction == "s\n\nu"


FENCED = "Make it FIFO:\n```hcl\nlocals {\n}\n```"


@pytest.mark.parametrize(
    ("record", "row_format"),
    [
        ({"instruction": FENCED, "response": "r"}, RowFormat.INSTRUCTION),
        ({"instruction": FENCED, "input": " \n", "response": "r"}, RowFormat.INSTRUCTION),
        ({"instruction": "Make it FIFO:", "input": "```hcl\nlocals {\n}\n```", "response": "r"}, RowFormat.INSTRUCTION),
        ({"instruction": "Make it FIFO:", "input": "locals {\r\n}\r\n", "response": "r"}, RowFormat.INSTRUCTION),
        ({"prompt": FENCED, "completion": "r"}, RowFormat.PROMPT_COMPLETION),
        ({"messages": [turn("user", FENCED), turn("assistant", "r")]}, RowFormat.CHAT),
    ],
)
def test_instruction_and_input_are_divided_as_in_a_request(record: dict[str, Any], row_format: RowFormat) -> None:
    assert read(record, row_format) == TrainingRow("a:1", "Make it FIFO:", "locals {\n}", "r")


@pytest.mark.parametrize("row_format", RowFormat)
@pytest.mark.parametrize(
    "before", ["", "<think>\n```hcl\ndraft {\n}\n```\n</think>\n", "Sure:\n```sh\nterraform init\n```\n"]
)
def test_the_program_is_taken_out_of_fences_and_thoughts(row_format: RowFormat, before: str) -> None:
    answer = f'{before}```hcl\nresource "a" "b" {{\n}}\n```\n\n```hcl\nlocals {{\n}}\n```\n'
    record = {
        "instruction": "i", "prompt": "p", "response": answer, "completion": answer,
        "messages": [turn("user"), turn("assistant", answer)],
    }  # fmt: skip
    assert read(record, row_format).response == 'resource "a" "b" {\n}\n\nlocals {\n}\n'


@pytest.mark.parametrize(
    ("record", "row_format", "reason"),
    [
        (
            {"instruction": "i", "response": "<think>\nso"},
            RowFormat.INSTRUCTION,
            "response: has a <think> that is not closed",
        ),
        ({"prompt": "p", "completion": "<think></think>"}, RowFormat.PROMPT_COMPLETION, "completion: has no program"),
        (
            {"messages": [turn("user"), turn("assistant", "<think>so</think>")]},
            RowFormat.CHAT,
            "content: has no program",
        ),
        ({"response": "r"}, RowFormat.INSTRUCTION, "instruction: the column is missing; columns: response"),
        ({"instruction": 7, "response": "r"}, RowFormat.INSTRUCTION, "instruction: must be text"),
        ({"instruction": "i", "response": " \n"}, RowFormat.INSTRUCTION, "response: must not be empty"),
        ({"instruction": "i", "input": [], "response": "r"}, RowFormat.INSTRUCTION, "input: must be text"),
        ({"prompt": "p", "completion": "x" * (MAX_TEXT + 1)}, RowFormat.PROMPT_COMPLETION, f"more than {MAX_TEXT}"),
        ({"prompt": "\ud800", "completion": "c"}, RowFormat.PROMPT_COMPLETION, "prompt: is not valid Unicode text"),
        ({}, RowFormat.CHAT, "messages: the column is missing"),
        ({"messages": "[{"}, RowFormat.CHAT, "messages: not JSON"),
        ({"messages": ["a"]}, RowFormat.CHAT, "must be a list of objects"),
        ({"messages": [turn("user")]}, RowFormat.CHAT, "the turns are [user]; allowed are an optional `system` turn"),
        ({"messages": [turn("assistant"), turn("user")]}, RowFormat.CHAT, "the turns are [assistant, user]"),
        ({"messages": [turn("user"), turn("assistant")] * 4}, RowFormat.CHAT, "user, assistant, …]"),
        ({"messages": [turn("user", None), turn("assistant")]}, RowFormat.CHAT, "messages.content: must be text"),
        ({"messages": [turn(None), turn("assistant")]}, RowFormat.CHAT, "the turns are [None, assistant]"),
    ],
)
def test_invalid_records_name_the_column_and_the_reason(
    record: dict[str, Any], row_format: RowFormat, reason: str
) -> None:
    with pytest.raises(UnusableError) as caught:
        read(record, row_format)
    assert reason in str(caught.value)
