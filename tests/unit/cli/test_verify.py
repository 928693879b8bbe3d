"""`loraform verify` with stages that need no Terraform: Parse and Policy."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from loraform_api import __version__
from loraform_api.verification import Program, Stage, VerifyRequest
from loraform_cli.__main__ import main
from loraform_cli.inputs import InputError, read_policy, read_program
from loraform_cli.verify import progress

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


def test_json_output_is_the_verifiers_response(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, broken = write(tmp_path, "good.tf", GOOD), write(tmp_path, "broken.tf", "resource {")
    assert main(["verify", good, broken, "--stages", "Parse", "-o", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [verdict["passed"] for verdict in answer["verdicts"]] == [True, False]


def test_findings_of_a_file_have_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "net.tf", "resource {")
    assert main(["verify", path, "--stages", "Parse"]) == 1
    assert f"        {path}:1: " in capsys.readouterr().out
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder", "main.tf", "resource {")
    assert main(["verify", str(tmp_path / "folder"), "--stages", "Parse"]) == 1
    assert "        main.tf:1: " in capsys.readouterr().out


def test_control_characters_of_a_program_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "policy.yaml", 'deny: [{name: x, types: [aws_*], message: "\\e[2J\\u202e"}]')
    arguments = ["verify", write(tmp_path, "main.tf", BARE), "--policy", str(tmp_path / "policy.yaml")]
    assert main([*arguments, "--stages", "policy"]) == 1
    assert "\\x1b[2J\\u202e" in capsys.readouterr().out


def test_output_of_a_rewrite_says_so(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["verify", write(tmp_path, "main.tf", BARE), "--policy", policy, "--stages", "parse", "--rewrite"]
    assert main(arguments) == 0
    assert "line numbers refer to the rewritten programs" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["/nowhere/main.tf"], ["{tmp}"], ["-", "--policy", "/nowhere/policy.yaml"]])
def test_what_cannot_be_read_exits_2(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [word.replace("{tmp}", str(tmp_path)) for word in arguments]
    assert main(["verify", *words, "--stages", "Parse"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_policy_without_a_policy_finds_literal_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", write(tmp_path, "main.tf", GOOD), "--stages", "Policy"]) == 0
    secret = 'locals {\n  password = "hunter2hunter2"\n}\n'
    assert main(["verify", write(tmp_path, "main.tf", secret), "--stages", "Policy"]) == 1
    out = capsys.readouterr().out
    assert "LiteralSecret" in out
    assert "hunter2" not in out


def call(source: str) -> str:
    return f'module "m" {{\n  source = "{source}"\n}}\n'


def test_a_folder_is_one_program_with_the_modules_it_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "b.tf", call("./net"))
    write(tmp_path, "a.tf", "# a\n")
    write(tmp_path, "notes.txt", "no")
    for name, text in {"net": call("../base/"), "base": call("../net"), "examples": "{", ".terraform": "{"}.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name, "main.tf", text)
    program = read_program(str(tmp_path))
    assert program.text == ""
    assert list(program.files) == ["a.tf", "b.tf", "net/main.tf", "base/main.tf"]
    assert capsys.readouterr().err == f"{tmp_path}: folders skipped, because no module block refers to them: 1\n"
    write(tmp_path, "main.tf", call("./examples"))
    assert read_program(str(tmp_path)).text == call("./examples")
    assert capsys.readouterr().err == ""


def test_json_configuration_in_a_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "main.tf", "")
    write(tmp_path, "more.tf.json", "{}")
    with pytest.raises(InputError, match=r"more\.tf\.json: JSON configuration is not supported"):
        read_program(str(tmp_path))
    (tmp_path / "more.tf.json").rename(tmp_path / "my file.tf")
    with pytest.raises(InputError, match=r"files: 'my file\.tf' cannot be a file's path: .* ending in \.tf$"):
        read_program(str(tmp_path))


def test_a_policy_may_stand_in_a_manifest(tmp_path: Path) -> None:
    manifest = write(
        tmp_path, "model.yaml", f"kind: IaCModel\nspec:\n  policy:\n    {POLICY.replace(chr(10), chr(10) + '    ')}"
    )
    assert read_policy(Path(manifest)).tags == {"by": "us"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: IaCModel\nspec: {}\n", "the file has no house policy"),
        ("kind: IaCModel\nspec:\n", "the file has no house policy"),
        ("", "the file has no house policy"),
        ("commment: x\n", "commment: Extra inputs are not permitted"),
        ("deny: [{name: a, types: [x], value: y}]\n", "deny.0.value: Extra inputs are not permitted"),
        ("a: [\n", "while parsing"),
        ("[" * 20_000, "recursion"),
    ],
)
def test_an_invalid_policy_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, "policy.yaml", text)
    with pytest.raises(InputError, match=f"--policy {path}: .*{words}"):
        read_policy(Path(path))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policy", "{policy}", "--stages", "parse"], "only stage policy checks it; add policy to --stages"),
        (
            ["--pack", "{pack}", "--stages", "parse"],
            "packs: only the Policy stage evaluates packs; add Policy to the stages",
        ),
        (["--pack", "{pack}", "--stages", "parse,policy"], "Policy with `packs` needs a plan; add Plan"),
        (
            ["--policy", "{packed}", "--stages", "parse,policy"],
            "its packs are not read from the cluster; give each as --pack FILE",
        ),
        (["--rewrite", "--stages", "parse"], "`rewrite` needs a policy"),
    ],
)
def test_policy_rules_that_no_stage_checks_exit_2(
    tmp_path: Path, policy: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = "packs: [{name: cost, configMap: {name: house-rules, key: cost.rego}}]\n"
    given = {
        "policy": policy,
        "pack": write(tmp_path, "cost.rego", "package cost\n"),
        "packed": write(tmp_path, "packed.yaml", packed),
    }
    assert main(["verify", write(tmp_path, "main.tf", GOOD), *(word.format(**given) for word in arguments)]) == 2
    assert words in capsys.readouterr().err


def test_the_default_stages_are_the_gates_with_intent_where_a_program_asks() -> None:
    asking = [Program(id="a", rego="package x")]
    assert VerifyRequest(programs=[]).stages == ["Parse", "Validate", "Plan", "Policy"]
    assert VerifyRequest(programs=asking).stages == ["Parse", "Validate", "Plan", "Policy", "Intent"]


def test_a_closed_pipe_exits_as_sigpipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert main(["verify", write(tmp_path, "main.tf", GOOD), "--stages", "parse"]) == 141


def test_a_full_disk_and_a_closed_input_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        assert main(["verify", write(tmp_path, "main.tf", GOOD), "--stages", "parse"]) == 2
    assert "error: [Errno 28] No space left on device" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["verify", "-", "--stages", "parse"]) == 2
    assert "error: -: standard input is closed" in capsys.readouterr().err


def test_its_version_is_the_projects(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.split() == ["loraform", __version__]


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


def test_an_invalid_reference_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "pod/x"]) == 2
    assert "finetunejob/NAME" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "seen"), [(Terminal(), ["Parse: 9 programs", "Plan: 7 programs"]), (io.StringIO(), [])]
)
def test_a_terminal_shows_the_running_stage(stream: io.StringIO, seen: list[str]) -> None:
    with progress(stream) as beginning:
        beginning(Stage.PARSE, 9)
        beginning(Stage.PLAN, 7)
    shown = stream.getvalue().split("\r\x1b[K")
    assert [words for words in shown if words] == seen
    assert shown[-1] == ""
