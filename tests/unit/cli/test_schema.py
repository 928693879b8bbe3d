"""`loraform schema`, without Terraform."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from loraform_cli.inputs import InputError
from loraform_cli.schema import add_parser, run
from loraform_verifier.schema.compact import compact, file_name, pack

AWS = "hashicorp/aws 5.100.0: 1526 resources, 608 data sources, 7 ephemeral resources"


def parsed(*words: str) -> argparse.Namespace:
    """Parse the command's arguments; another test covers the program's parser."""
    parser = argparse.ArgumentParser(prog="loraform")
    add_parser(parser.add_subparsers(dest="command"))
    return parser.parse_args(["schema", *words])


def test_list_shows_the_built_in_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(parsed("list")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert AWS in lines
    assert any(line.startswith("builtin/terraform ") for line in lines)


def test_list_shows_the_newest_version_of_given_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, version in (("hashicorp/aws", "4.0.0"), ("acme/cloud", "1.9.0"), ("acme/cloud", "1.10.0")):
        (tmp_path / file_name(source, version)).write_bytes(pack(compact(source, version, {})))
    assert run(parsed("list", str(tmp_path))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert AWS in lines
    assert "acme/cloud 1.10.0: 0 resources, 0 data sources, 0 ephemeral resources" in lines
    assert not any("4.0.0" in line or "1.9.0" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "/nowhere"], "/nowhere does not exist"),
        (["build", "-o", "{tmp}", "--terraform", "/nowhere/terraform"], "is not an executable"),
    ],
)
def test_an_unknown_provider_is_named(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(parsed(*(word.replace("{tmp}", str(tmp_path)) for word in words)))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "acme_cloud_1.0.0.jsonl.xz").write_bytes(b"words")
    with pytest.raises(InputError, match=r"acme_cloud_1\.0\.0\.jsonl\.xz: not a schema file"):
        run(parsed("list", str(tmp_path)))


@pytest.mark.parametrize("words", [[], ["build"], ["nonsense"]])
def test_wrong_usage_exits_2(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(*words)


def test_help_says_what_build_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parsed("build", "--help")
    out = " ".join(capsys.readouterr().out.split())
    assert "Needs Terraform or OpenTofu once" in out
    assert "LORAFORM_SCHEMAS" in out
