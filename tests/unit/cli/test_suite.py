"""`loraform verify --suite` with stages that need no Terraform: Parse, Policy and Intent."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from loraform_cli.__main__ import main
from loraform_cli.suite import read_suite

QUEUE = 'resource "aws_sqs_queue" "main" {\n  name = "otter"\n}\n'
ASKED = {"types": ["aws_sqs_queue"], "names": ["otter"], "values": []}
STAGES = ["--stages", "parse,intent"]


def suite(folder: Path, *rows: Any) -> str:
    path = folder / "suite.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(path)


def test_each_row_has_its_verdict_and_each_stage_its_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"id": "a", "response": QUEUE, "asked": ASKED}
    other = {"id": "b", "response": QUEUE, "asked": {**ASKED, "names": ["swan"]}}
    assert main(["verify", "--suite", suite(tmp_path, good, other), *STAGES]) == 1
    out = capsys.readouterr().out
    assert "passed  a  Parse=passed Intent=passed" in out
    assert "FAILED  b  Parse=passed Intent=failed" in out
    assert "Parse           2 of 2  100.0 %" in out
    assert "Intent          1 of 2   50.0 %" in out


def test_json_is_one_object_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = suite(tmp_path, {"id": "a", "raw": {"Candidate": QUEUE}}, {"raw": {"Candidate": "resource {"}})
    assert main(["verify", "--suite", rows, "--field", "raw.Candidate", "--stages", "Parse", "-o", "json"]) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first.pop("seconds") >= 0
    assert first == {
        "id": "a",
        "passed": True,
        "stages": {"Parse": {"passed": True, "inconclusive": False, "diagnostics": []}},
    }
    assert (second["id"], second["passed"]) == ("2", False)
    assert second["stages"]["Parse"]["diagnostics"][0]["line"] == 1


def test_a_row_ends_at_a_newline_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = json.dumps({"response": f"# one\u2028comment\n{QUEUE}"}, ensure_ascii=False)
    assert main(["verify", "--suite", suite(tmp_path, row, "", row), "--stages", "Parse"]) == 0
    assert "2 of 2 passed" in capsys.readouterr().out


def test_a_row_may_have_more_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": None, "response": QUEUE, "rego": "", "files": {"net/main.tf": "resource {"}}
    assert main(["verify", "--suite", suite(tmp_path, row), "--stages", "parse"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  1  Parse=failed" in out
    assert "net/main.tf:1: " in out


def test_an_empty_rego_is_ignored(tmp_path: Path) -> None:
    (program,) = read_suite(Path(suite(tmp_path, {"response": QUEUE, "rego": ""})), "response")
    assert program.rego is None


def test_json_shows_the_rewritten_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text('comment: "# ours"\n')
    arguments = ["--stages", "parse", "--rewrite", "--policy", str(tmp_path / "policy.yaml"), "-o", "json"]
    assert main(["verify", "--suite", suite(tmp_path, {"response": QUEUE}), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["rewritten"] == f"# ours\n{QUEUE}"


def test_rows_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"response": QUEUE})))
    assert main(["verify", "--suite", "-", "--stages", "parse"]) == 0
    assert "1 of 1 passed" in capsys.readouterr().out


def test_iac_evals_csv_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "suite.CSV"
    columns = "Resource,Prompt,Rego intent,Difficulty,Reference output,Intent"
    quoted = QUEUE.replace('"', '""')
    path.write_text(f'{columns}\r\naws_sqs_queue,A queue,package x,1,"{quoted}",none\r\n')
    arguments = ["verify", "--suite", str(path), "--field", "Reference output", "--stages"]
    assert main([*arguments, "parse"]) == 0
    assert main([*arguments, "parse,intent"]) == 2
    assert "Intent of programs with `rego` needs a plan; add Plan" in capsys.readouterr().err
    path.write_text("Prompt\nA queue\n")
    assert main([*arguments, "parse"]) == 2
    assert "suite.CSV" in capsys.readouterr().err
    path.write_text(f"{columns}\n")
    assert main([*arguments, "parse"]) == 2
    assert "the file has no rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["{"], "suite.jsonl:1: not a JSON object"),
        ([{"id": "a", "reply": QUEUE}], "suite.jsonl:1: --field response: the row has no text there; it has id, reply"),
        ([{"response": QUEUE, "asked": {"kinds": []}}], "suite.jsonl:1: asked.kinds: Extra inputs"),
        ([{"response": QUEUE, "asked": ["x"]}], "suite.jsonl:1: asked: Input should be"),
        ([{"response": QUEUE, "files": {"main.tf": ""}}], "suite.jsonl:1: files: 'main.tf' is given twice"),
        (["[" * 100_000], "suite.jsonl:1: not a JSON object"),
        ([], "the file has no rows"),
    ],
)
def test_a_row_that_cannot_be_checked_exits_2_and_is_named(
    tmp_path: Path, rows: list[Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--suite", suite(tmp_path, *rows), *STAGES]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["main.tf", "--suite", "suite.jsonl"], ["--suite", "/nowhere.jsonl"]])
def test_paths_and_suite_exclude_each_other(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")
