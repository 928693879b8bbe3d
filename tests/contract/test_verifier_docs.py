"""Commands, policy and stages in docs/verifier.md agree with the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from loraform_api.verification import (
    GATE,
    MAX_FILES,
    MAX_PROGRAM_BYTES,
    MAX_PROGRAMS,
    MAX_REQUEST_BYTES,
    MAX_TEXT,
    HousePolicy,
    Stage,
)
from loraform_cli.__main__ import parser
from loraform_verifier.hcl.syntax import MAX_DEPTH
from loraform_verifier.sandbox.isolation import MIB
from loraform_verifier.sandbox.worker import WorkLimits
from loraform_verifier.stages.results import MAX_FINDINGS, MAX_MESSAGE
from loraform_verifier.terraform.batch import DEADLINES
from loraform_verifier.terraform.plan import MAX_PLAN

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


def test_the_limits_are_those_of_the_code() -> None:
    [table] = re.findall(r"^\| Of \| Limit .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    limits = [row.split(" | ")[1] for row in table.strip().splitlines()[2:]]
    work = WorkLimits()
    assert limits == [
        f"{MAX_TEXT:,} characters",
        f"{MAX_PROGRAM_BYTES:,} bytes in all its files, {MAX_FILES} files beside `main.tf`",
        f"{MAX_REQUEST_BYTES:,} bytes in all programs' files, {MAX_PROGRAMS} programs",
        f"{MAX_DEPTH} levels",
        f"{MAX_PLAN // MIB} MiB; 200 virtual machines make a fifth of it",
        f"{work.seconds:g} s of processor time, {work.memory // MIB} MiB of memory",
        f"{DEADLINES.request / 60:g} minutes each",
        f"{MAX_FINDINGS}, of {MAX_MESSAGE} characters each",
    ]


def test_the_glossary_lists_every_stage_and_the_spec_page_those_of_the_gate() -> None:
    assert f"Of the verifier: {', '.join(Stage)}." in (DOCS / "glossary.md").read_text()
    [table] = re.findall(r"^\| Stage \| .*?\n\n", (DOCS / "spec/v1alpha1/finetunejob.md").read_text(), re.M | re.S)
    assert re.findall(r"^\| (\w+) \|", table, re.MULTILINE)[1:] == list(GATE)
