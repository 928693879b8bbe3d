"""Commands, policy and stages in docs/verifier.md agree with the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from loraform_api.verification import GATE, HousePolicy, Stage
from loraform_cli.__main__ import parser

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "verifier.md").read_text()
COMMANDS = re.findall(r"^loraform (.+?)(?:\s{2,}#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_documented_command_is_parsed(command: str) -> None:
    parser().parse_args(shlex.split(command))


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 5


def test_the_documented_policy_shows_every_field() -> None:
    (text,) = re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)
    shown = yaml.safe_load(text)
    policy = HousePolicy.model_validate(shown)
    assert set(shown) == {field.alias or name for name, field in HousePolicy.model_fields.items()}
    assert policy.model_dump(by_alias=True, exclude_unset=True, mode="json") == shown


def test_every_stage_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(Stage)


def test_the_glossary_lists_every_stage_and_the_spec_page_those_of_the_gate() -> None:
    assert f"Of the verifier: {', '.join(Stage)}." in (DOCS / "glossary.md").read_text()
    [table] = re.findall(r"^\| Stage \| .*?\n\n", (DOCS / "spec/v1alpha1/finetunejob.md").read_text(), re.M | re.S)
    assert re.findall(r"^\| (\w+) \|", table, re.MULTILINE)[1:] == list(GATE)
