"""`loraform dataset check`, without Terraform."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loraform_cli.__main__ import main

NAMES = [a + b + c for a in ("amber", "basil", "cedar", "delta", "ember") for b in "klmnp" for c in "rstvwx"]


def rows(count: int = 120) -> list[dict[str, str]]:
    def program(name: str) -> str:
        return f'resource "aws_sns_topic" "{name}" {{\n  name = "{name[::-1]}"\n}}\n'

    return [{"instruction": f"Make {name} {name[::-1]}.", "response": program(name)} for name in NAMES[:count]]


def write(folder: Path, lines: list[dict[str, str]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def check(*arguments: str) -> int:
    return main(["dataset", "check", *arguments, "--no-validate"])


def test_rows_that_are_all_kept_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(write(tmp_path, rows())) == 0
    out = capsys.readouterr().out
    assert "120 rows read, 120 kept: 114 for training, 6 for validation" in out
    assert "not checked: Invalid (--no-validate)" in out
    assert "not checked: TooLong (give --tokenizer)" in out


def test_dropped_rows_exit_1_and_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, [*rows(), {"instruction": "x", "response": "not terraform"}])
    assert check(path, "-o", "json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["refusal"] is None
    assert report["dropped"]["SyntaxError"]["examples"][0].startswith("rows.jsonl:121: the response is not Terraform")


def test_a_refused_file_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(write(tmp_path, rows(20))) == 1
    assert "refused: 20 of 20 rows remain, 19 of them for training; spec.dataset.minRows" in capsys.readouterr().out


def test_a_broken_file_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.json").write_text("{}")
    assert check(str(tmp_path / "rows.json")) == 1
    assert (
        "refused: source 'rows.json' of dataset.sources, row 1: the file is not a JSON array" in capsys.readouterr().out
    )


def test_columns_and_formats_are_those_of_the_spec(tmp_path: Path) -> None:
    renamed = [{"prompt": row["instruction"], "answer": row["response"]} for row in rows()]
    path = write(tmp_path, renamed)
    assert check(path, "--format", "PromptCompletion", "--columns", "completion=answer") == 0


def test_rows_of_a_suite_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = write(tmp_path, [{"id": "held-7", "instruction": rows()[7]["instruction"].upper()}], "suite.jsonl")
    assert check(write(tmp_path, rows()), "--suite", suite) == 1
    assert "rows.jsonl:8: its prompt is that of suite row 'held-7'" in capsys.readouterr().out


def test_the_policy_is_applied_before_answers_are_compared(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text('comment: "# ours"\ndeny: [{name: no-topics, types: [aws_sns_topic]}]\n')
    assert check(write(tmp_path, rows()), "--policy", str(tmp_path / "policy.yaml")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.jsonl"], "missing.jsonl: no such file"),
        (["ROWS", "--columns", "answer=response"], "--columns answer: allowed are instruction=…, input=…"),
        (["ROWS", "--tokenizer", "."], "--tokenizer .: No such file or directory: tokenizer.json"),
        (["ROWS", "--suite", "ROWS"], "--suite "),
    ],
)
def test_wrong_usage_exits_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    path = write(tmp_path, rows(3))
    assert check(*(path if word == "ROWS" else word for word in arguments)) == 2
    assert message in capsys.readouterr().err


def test_no_command_imports_torch_or_the_libraries_of_another() -> None:
    heavy = "{'torch', 'transformers', 'datasets', 'boto3'}"
    code = (
        "import sys, loraform_cli.__main__; before = set(sys.modules); import loraform_cli.dataset_check; "
        f"print(sorted({heavy} & set(sys.modules)), 'pyarrow' in before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[] False"
