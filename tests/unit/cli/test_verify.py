"""`loraform verify` from its command line on; Parse and Policy alone, which need no Terraform."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from loraform_api.verification import Program, Stage
from loraform_cli.__main__ import main
from loraform_cli.inputs import InputError, read_policy, read_program
from loraform_cli.verify import default_stages, progress

GOOD = '# ours\nresource "aws_sqs_queue" "main" {\n  name = "a"\n  tags = { by = "us" }\n}\n'
BARE = 'resource "aws_sqs_queue" "main" {\n  name = "a"\n}\n'
POLICY = 'comment: "# ours"\ntags: {by: us}\n'


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A policy file."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def write(folder: Path, name: str, text: str) -> str:
    """Write a file and return its path."""
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_program_that_passes_exits_0(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "main.tf", GOOD)
    assert main(["verify", path, "--policy", policy, "--stages", "parse,policy"]) == 0
    assert "1 of 1 passed" in capsys.readouterr().out


def test_a_program_that_fails_exits_1_and_says_why(
    tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "main.tf", BARE)
    assert main(["verify", path, "--policy", policy, "--stages", "parse,policy"]) == 1
    out = capsys.readouterr().out
    assert f"FAILED  {path}  Parse=passed Policy=failed" in out
    assert "CommentMissing: aws_sqs_queue.main" in out


def test_json_is_the_verifiers_own_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, broken = write(tmp_path, "good.tf", GOOD), write(tmp_path, "broken.tf", "resource {")
    assert main(["verify", good, broken, "--stages", "Parse", "-o", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [verdict["passed"] for verdict in answer["verdicts"]] == [True, False]


@pytest.mark.parametrize("arguments", [["/nowhere/main.tf"], ["{tmp}"], ["-", "--policy", "/nowhere/policy.yaml"]])
def test_what_cannot_be_read_exits_2(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [word.replace("{tmp}", str(tmp_path)) for word in arguments]
    assert main(["verify", *words, "--stages", "Parse"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_policy_without_a_policy_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", write(tmp_path, "main.tf", GOOD), "--stages", "Policy"]) == 2
    assert "policy" in capsys.readouterr().err


def test_a_folder_is_one_program(tmp_path: Path) -> None:
    write(tmp_path, "b.tf", "# b\n")
    write(tmp_path, "a.tf", "# a\n")
    write(tmp_path, "notes.txt", "no")
    (tmp_path / "net").mkdir()
    write(tmp_path / "net", "main.tf", "# net\n")
    (tmp_path / ".terraform").mkdir()
    write(tmp_path / ".terraform", "main.tf", "# hidden\n")
    program = read_program(str(tmp_path))
    assert (program.text, program.files) == ("", {"a.tf": "# a\n", "b.tf": "# b\n", "net/main.tf": "# net\n"})
    write(tmp_path, "main.tf", "# main\n")
    assert read_program(str(tmp_path)).text == "# main\n"


def test_a_policy_may_stand_in_a_manifest(tmp_path: Path) -> None:
    manifest = write(
        tmp_path, "model.yaml", f"kind: IaCModel\nspec:\n  policy:\n    {POLICY.replace(chr(10), chr(10) + '    ')}"
    )
    assert read_policy(Path(manifest)).tags == {"by": "us"}
    with pytest.raises(InputError, match="no house policy"):
        read_policy(Path(write(tmp_path, "empty.yaml", "kind: IaCModel\nspec: {}\n")))


def test_the_gates_stages_are_run_as_far_as_they_are_asked_for(policy: str) -> None:
    assert default_stages(None, []) == ["Parse", "Validate", "Plan"]
    assert default_stages(read_policy(Path(policy)), []) == ["Parse", "Validate", "Plan", "Policy"]
    assert default_stages(None, [Program(id="a", rego="package x")]) == ["Parse", "Validate", "Plan", "Intent"]


@pytest.mark.parametrize("words", ["", "parse;policy", "parse,guess"])
def test_an_unknown_stage_exits_2_and_the_known_are_named(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["verify", "-", "--stages", words])
    assert "allowed are format, parse, schema, validate, plan, policy, intent, security" in capsys.readouterr().err


def test_help_names_both_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    out = capsys.readouterr().out
    assert "verify" in out
    assert "watch" in out


def test_a_reference_that_is_none_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "pod/x"]) == 2
    assert "finetunejob/NAME" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "seen"), [(Terminal(), ["Parse: 9 programs", "Plan: 7 programs"]), (io.StringIO(), [])]
)
def test_a_terminal_sees_the_stage_at_work_and_nothing_stays(stream: io.StringIO, seen: list[str]) -> None:
    with progress(stream) as beginning:
        beginning(Stage.PARSE, 9)
        beginning(Stage.PLAN, 7)
    shown = stream.getvalue().split("\r\x1b[K")
    assert [words for words in shown if words] == seen
    assert shown[-1] == ""
