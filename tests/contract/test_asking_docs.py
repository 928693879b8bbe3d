"""The examples of docs/asking.md are requests that become the prompts shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loraform_engine.conversation import InputFrom
from loraform_engine.prompt import render
from loraform_gateway.openai import INPUT_LIMIT, INSTRUCTION_LIMIT, MESSAGE_LIMIT, parse_chat

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "asking.md").read_text()
EXAMPLES = re.findall(r"^### `(\w+)`\n.*?^```json\n(.*?)^```.*?^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("input_from", "body", "prompt"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_an_example_becomes_the_prompt_shown(input_from: str, body: str, prompt: str) -> None:
    question = parse_chat(body.encode()).question
    assert question.input_from == input_from
    assert "".join(render(question.instruction, question.input)) == prompt


def test_every_rule_is_in_the_table_and_has_an_example() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)[1:] == list(InputFrom)
    assert [name for name, _, _ in EXAMPLES] == list(InputFrom)


def test_the_limits_are_those_of_the_gateway() -> None:
    assert f"at most {INSTRUCTION_LIMIT:,} characters, inputs {INPUT_LIMIT:,};" in PAGE
    assert f"messages with more than {MESSAGE_LIMIT:,}," in PAGE
