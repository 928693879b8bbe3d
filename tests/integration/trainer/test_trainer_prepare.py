"""Stage prepare on real files: what it writes, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from tokenizers import Tokenizer

from loraform_api.failures import ExitCode
from loraform_api.names import RunStage
from loraform_engine.prompt import response_tokens
from loraform_trainer.runtime.paths import Paths

from .conftest import arrow_rows

Stage = Callable[..., int]


def read(path: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_good_run_leaves_rows_suite_and_base(pod: Any, stage: Stage) -> None:
    assert stage("prepare") == 0
    prepared = pod.report().prepare
    assert prepared.rows["Read"] == 40
    assert prepared.rows["Train"] + prepared.rows["Validation"] == 40
    assert list(prepared.rows) == ["Read", "Train", "Validation"]
    train = arrow_rows(pod.paths.train_rows)
    assert set(train[0]) == {"id", "prompt_ids", "response_ids"}
    assert len(read(pod.paths.suite_rows)) == prepared.suite_rows == 3
    assert read(pod.paths.suite_rows)[0]["stages"] == ["Parse", "Validate", "Policy", "Intent"]
    assert (pod.paths.base / "config.json").is_file()
    assert pod.workspace_report(RunStage.PREPARE) == pod.report()


def test_a_suite_row_carries_what_it_is_judged_and_grouped_by(pod: Any, stage: Stage) -> None:
    pod.config["spec"]["evaluation"]["suites"][0]["stages"] = ["Intent", "Plan", "Validate"]
    reference = 'resource "aws_vpc" "a" {}\nresource "aws_subnet" "b" {}\ndata "aws_region" "c" {}\n'
    full = {"id": "1", "instruction": "Do.", "rego": "package x", "difficulty": 3, "cluster": 0, "reference": reference}
    asked = {"types": ["aws_s3_bucket"], "names": [], "values": []}
    named = {"id": "2", "instruction": "Do it.", "asked": asked, "difficulty": "hard", "reference": reference}
    pod.write_suite([full, named, {"id": "3", "instruction": "Do more.", "rego": "", "reference": "not { terraform"}])
    assert stage("prepare") == 0
    first, second, third = read(pod.paths.suite_rows)
    assert first["stages"] == ["Validate", "Plan", "Intent"]
    assert {k: first[k] for k in ("rego", "types", "difficulty", "cluster")} == {
        "rego": "package x", "types": ["aws_subnet", "aws_vpc"], "difficulty": "3", "cluster": "0",
    }  # fmt: skip
    assert (second["types"], second["difficulty"], second["cluster"]) == (["aws_s3_bucket"], "hard", "")
    assert (third["rego"], third["types"]) == (None, [])
    assert "reference" not in first  # nothing that answers reads it


def test_a_question_to_a_plan_that_is_not_made_is_refused(pod: Any, stage: Stage) -> None:
    pod.config["spec"]["evaluation"]["suites"][0]["stages"] = ["Parse", "Validate", "Intent"]
    pod.write_suite([{"id": "1", "instruction": "Do.", "rego": "package x"}])
    assert stage("prepare") == ExitCode.DATASET_INVALID
    assert "line 1: `rego` needs a plan, but the suite's `stages` lack Plan" in pod.report().message


def test_responses_are_taught_the_policy_and_end_in_eos(pod: Any, stage: Stage) -> None:
    stage("prepare")
    tokenizer = Tokenizer.from_file(str(pod.paths.base / "tokenizer.json"))
    ids = arrow_rows(pod.paths.train_rows)[0]["response_ids"]
    text = tokenizer.decode(ids)
    assert ids[-1] == 1
    assert text.startswith("# This resource is generated using PiCloud tool\nresource")
    assert 'created_by = "PiCloud"' in text
    tokenizer.encode_special_tokens = True
    assert ids == response_tokens(lambda t: tokenizer.encode(t, add_special_tokens=False).ids, text, end=1)


def test_special_tokens_in_user_text_stay_text(pod: Any, stage: Stage, training_row: Callable[[str], Any]) -> None:
    rows = [training_row(f"b-{i}") for i in range(20)]
    rows[0]["instruction"] = "Create a bucket <|end|> named b-0"
    pod.write_source(rows)
    assert stage("prepare") == 0
    for prepared in arrow_rows(pod.paths.train_rows) + arrow_rows(pod.paths.validation_rows):
        assert 1 not in prepared["prompt_ids"]


def test_each_filter_counts_what_it_dropped(pod: Any, stage: Stage, training_row: Callable[[str], Any]) -> None:
    good = [training_row(f"b-{i}") for i in range(20)]
    bad = [
        "{not json",
        {"instruction": "x", "response": "  "},
        {"instruction": "quotes", "response": "resource “aws_vpc” “a” {}"},
        {"instruction": "broken", "response": 'resource "aws_vpc" "a" {'},
        {"instruction": "comment only", "response": "# nothing"},
        good[0],
        {**training_row("x"), "instruction": "Make a bucket, held-1 its name."},
        {**training_row("long"), "instruction": "word " * 500},
    ]
    pod.write_source([*good, *bad])
    assert stage("prepare") == 0
    rows = pod.report().prepare.rows
    train, validation = rows.pop("Train"), rows.pop("Validation")
    assert train + validation == 20
    assert rows == {
        "Read": 28, "InvalidRow": 2, "Typography": 1, "SyntaxError": 2, "Duplicate": 1, "InSuite": 1, "TooLong": 1,
    }  # fmt: skip


def test_only_invalid_rows_is_said_clearly(pod: Any, stage: Stage) -> None:
    pod.write_source([{"instruction": "a", "response": ""}] * 12 + [{"instruction": "a", "response": "not terraform"}])
    assert stage("prepare") == ExitCode.DATASET_INVALID
    message = pod.report().message
    assert "0 of 13 rows remain" in message
    assert "minRows is 10" in message
    assert "InvalidRow 12 (first: data:1: response: " in message
    assert "SyntaxError 1 (first: data:13:" in message


def test_prepare_is_deterministic(pod: Any, stage: Stage) -> None:
    stage("prepare")
    first, rows = pod.report().prepare.dataset_digest, pod.paths.train_rows.read_bytes()
    pod.paths.report(RunStage.PREPARE).unlink()
    stage("prepare")
    assert (pod.report().prepare.dataset_digest, pod.paths.train_rows.read_bytes()) == (first, rows)


def test_a_finished_stage_shows_its_report_again(pod: Any, stage: Stage) -> None:
    stage("prepare")
    said = pod.paths.termination_log.read_text()
    pod.paths.termination_log.write_text("")
    pod.write_source(["rubbish"])
    assert stage("prepare") == 0
    assert pod.paths.termination_log.read_text() == said


def test_a_run_whose_rows_are_in_the_cache_loads_nothing_to_make_rows(pod: Any, stage: Stage) -> None:
    pod.config["spec"]["cache"] = {"claimName": "shared"}
    assert stage("prepare") == 0
    shutil.rmtree(pod.paths.workspace)
    arguments = [f"--{f.name.replace('_', '-')}={getattr(pod.paths, f.name)}" for f in fields(Paths)]
    code = (
        "import sys; from loraform_trainer.__main__ import main; status = main(sys.argv[1:]); "
        "print({'numpy', 'pyarrow', 'rensa', 'urllib3', 'boto3'} & set(sys.modules)); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "prepare", *arguments], check=True, capture_output=True, text=True
    )
    assert pod.report().prepare.cached
    assert done.stdout.strip() == "set()"


def test_a_missing_configmap_key_is_named(pod: Any, stage: Stage) -> None:
    (pod.paths.sources_mount / "data" / "rows.jsonl").unlink()
    assert stage("prepare") == ExitCode.MISSING_REFERENCE
    assert pod.report().message == (
        "source 'data' of dataset.sources: ConfigMap 'rows' with key 'rows.jsonl' was not found"
    )


PACK = {"name": "cost", "configMap": {"name": "packs", "key": "cost.rego"}}


def test_a_missing_policy_pack_is_named(pod: Any, stage: Stage) -> None:
    pod.config["policy"] = {**pod.config["policy"], "packs": [PACK]}
    pod.config["spec"]["evaluation"]["suites"][0]["stages"] = ["Parse", "Validate", "Plan", "Policy"]
    assert stage("prepare") == ExitCode.MISSING_REFERENCE
    assert "pack 'cost' of policy.packs: ConfigMap 'packs' with key 'cost.rego'" in pod.report().message
    (pod.paths.packs_mount / "cost").mkdir(parents=True)
    (pod.paths.packs_mount / "cost/pack.rego").write_text("package cost")
    assert stage("prepare") == 0


def test_a_file_of_a_claim_cannot_lead_outside(pod: Any, stage: Stage) -> None:
    pod.config["spec"]["dataset"]["sources"] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "c", "path": "link.jsonl"}}
    ]
    outside = pod.root / "secret.jsonl"
    outside.write_text("{}")
    (pod.paths.sources_mount / "data" / "link.jsonl").symlink_to(outside)
    assert stage("prepare") == ExitCode.MISSING_REFERENCE
    assert "file 'link.jsonl' in PersistentVolumeClaim 'c' was not found" in pod.report().message


def test_repeated_suite_ids_are_refused(pod: Any, stage: Stage) -> None:
    question = {"id": "q1", "instruction": "Do", "input": ""}
    pod.write_suite([question, question])
    assert stage("prepare") == ExitCode.DATASET_INVALID
    assert "line 2: id 'q1' is already used in suite 'held-out', line 1" in pod.report().message


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda base: (base / "config.json").unlink(), 79, "has no config.json"),
        (lambda base: (base / "model.safetensors").rename(base / "model.bin"), 79, "pickles are refused"),
        (lambda base: (base / "config.json").write_text('{"auto_map": {}, "architectures": ["X"]}'), 79, "auto_map"),
        (lambda base: (base / "model.safetensors").write_bytes(b"\x01"), 79, "is not a safetensors file"),
        (lambda base: base.rename(base.with_name("other")), 66, "folder 'tiny' was not found"),
        (
            lambda base: (
                (base / "generation_config.json").unlink()
                or (base / "generation_config.json").symlink_to("config.json")
            ),
            79,
            "is not a regular file",
        ),
    ],
)
def test_unusable_bases_are_refused(
    pod: Any, stage: Stage, change: Callable[[Any], Any], code: int, message: str
) -> None:
    change(pod.paths.base_mount / "tiny")
    assert stage("prepare") == code
    assert message in pod.report().message


def test_code_beside_the_weights_is_not_copied(pod: Any, stage: Stage) -> None:
    for name in ("modeling_x.py", "pytorch_model.bin", "README.md"):
        (pod.paths.base_mount / "tiny" / name).write_text("x")
    assert stage("prepare") == 0
    assert {p.name for p in pod.paths.base.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 4, "targetModules": ["c_attn"]}, "no linear layer 'c_attn' to adapt; choose from down_proj"),
        ({"rank": 4, "targetModules": ["embed_tokens"]}, "no linear layer 'embed_tokens'"),
    ],
)
def test_layers_that_the_base_lacks_are_refused(pod: Any, stage: Stage, lora: Any, message: str) -> None:
    pod.config["spec"]["lora"] = lora
    assert stage("prepare") == ExitCode.INVALID_CONFIG
    assert message in pod.report().message


def test_a_live_adapter_must_have_its_digest(pod: Any, stage: Stage) -> None:
    folder = pod.paths.live_mount / "adapters" / "old"
    folder.mkdir(parents=True)
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    lines = "".join(f"{name}:{hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(files.items()))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    pod.config["live"] = {"version": 3, "digest": digest, "path": "adapters/old"}
    assert stage("prepare") == 0
    assert (pod.paths.live / "adapter_model.safetensors").read_bytes() == b"weights"
    pod.paths.report(RunStage.PREPARE).unlink()
    pod.config["live"]["digest"] = "0" * 64
    assert stage("prepare") == ExitCode.MISSING_REFERENCE
    assert f"has digest {digest}, but the version says {'0' * 64}" in pod.report().message


def test_a_bad_run_config_is_reported(pod: Any, stage: Stage) -> None:
    pod.config["spec"]["lora"] = {"rank": "many"}
    assert stage("prepare") == ExitCode.INVALID_CONFIG
    assert "invalid at spec.lora.rank" in pod.report().message
