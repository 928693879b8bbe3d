"""`loraform estimate`: input, output and exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_cli.__main__ import main
from loraform_cli.estimate import memory_size
from loraform_cli.inputs import InputError

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
ROOT = Path(__file__).resolve().parents[3]
BASE_MODEL = ROOT / "demo" / "base-model"
SPEC: dict[str, Any] = {
    "baseModel": {"storageUri": "pvc://models/tiny"},
    "dataset": {"sources": [{"name": "data", "configMap": {"name": "rows", "key": "rows.jsonl"}}]},
    "evaluation": {"suites": [{"name": "held-out", "configMap": {"name": "suite", "key": "suite.jsonl"}}]},
    "output": {"storageUri": "pvc://artifacts/team/adapters"},
}


class Folder:
    """A job and a base's config, and the command run on them."""

    def __init__(self, root: Path) -> None:
        self.job = root / "job.yaml"
        self.base = root / "config.json"
        self.base.write_text(json.dumps(LLAMA_8B))
        self.write()

    def write(self, **changes: Any) -> None:
        self.job.write_text(yaml.safe_dump({"kind": "FineTuneJob", "spec": {**SPEC, **changes}}))

    def estimate(self, *words: str) -> int:
        return main(["estimate", "-f", str(self.job), "--base", str(self.base), *words])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


Output = pytest.CaptureFixture[str]


def test_a_run_that_fits(folder: Folder, capsys: Output) -> None:
    assert folder.estimate("--gpu", "H100") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "llama, 8.03 billion weights (by its config); LoRA of rank 32, 83.9 million weights" in text
    assert "The run fits: activations are kept" in text
    assert "of 79.0 GiB" in text
    assert "Time:" not in text


def test_a_run_that_does_not_fit_says_what_to_change(folder: Folder, capsys: Output) -> None:
    assert folder.estimate("--memory", "12GiB") == 1
    text = capsys.readouterr().out
    assert "The run does not fit" in text
    assert "- set `spec.method` to 'QLoRA'" in text


def test_json_output_has_the_same_figures(folder: Folder, capsys: Output) -> None:
    assert folder.estimate("--gpu", "h100", "--rows", "20000", "--mean-tokens", "500", "-o", "json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["fits"], said["recompute"]) == (True, False)
    assert said["neededBytes"] == sum(said["memoryKept"].values())
    assert said["weights"] == 8_030_261_248
    assert said["work"]["tokens"] == 2 * 20000 * 500
    assert 0.2 < said["work"]["least_hours"] < said["work"]["most_hours"] < 0.6
    assert said["advice"] == []


def test_time_is_shared_by_all_gpus_of_all_nodes(folder: Folder, capsys: Output) -> None:
    most = []
    for placement in ({}, {"nodes": 2, "gpus": 4}):
        folder.write(placement=placement, workspace={"accessMode": "ReadWriteMany"})
        folder.estimate("--gpu", "h100", "--rows", "20000", "--mean-tokens", "500", "-o", "json")
        most.append(json.loads(capsys.readouterr().out)["work"]["most_hours"])
    assert most[1] == pytest.approx(most[0] / 8)


def test_a_gpu_given_by_memory_has_work_but_no_time(folder: Folder, capsys: Output) -> None:
    assert folder.estimate("--memory", "80GB", "--rows", "100", "--mean-tokens", "500") == 0
    text = capsys.readouterr().out
    assert "Work: 0.10 million tokens in 2 epochs" in text
    assert "Time:" not in text


def test_rows_of_a_file_are_counted_by_the_tokenizer(folder: Folder, tmp_path: Path, capsys: Output) -> None:
    folder.base = BASE_MODEL
    rows = tmp_path / "rows.jsonl"
    good = {"instruction": "Create a bucket.", "input": "", "response": 'resource "aws_s3_bucket" "b" {}'}
    rows.write_text("\n".join([json.dumps(good)] * 3 + ["not json", json.dumps({"instruction": "no response"})]))
    words = ("--data", str(rows), "--tokenizer", str(BASE_MODEL), "-o", "json")
    assert folder.estimate("--memory", "4GiB", *words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["work"]["tokens"] % (2 * 3) == 0
    assert 2 * 3 * 15 < said["work"]["tokens"] < 2 * 3 * 60


def test_the_weights_of_a_folder_are_counted(folder: Folder, capsys: Output) -> None:
    folder.base = BASE_MODEL
    assert folder.estimate("--memory", "4GiB") == 0
    assert "weights (counted)" in " ".join(capsys.readouterr().out.split())


def test_an_iac_models_job_template_counts(folder: Folder, capsys: Output) -> None:
    model = {"kind": "IaCModel", "spec": {"jobTemplate": {**SPEC, "lora": {"rank": 8}}}}
    folder.job.write_text(yaml.safe_dump_all([{"kind": "ConfigMap"}, None, model]))
    assert folder.estimate("--gpu", "H100") == 0
    assert "LoRA of rank 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gpu", "abacus"), "--gpu abacus: unknown; give one of H200"),
        (("--memory", "much"), "--memory much: give a number with one of GiB"),
        (("--gpu", "H100", "--rows", "5"), "give --rows with --mean-tokens"),
        (("--gpu", "H100", "--data", "absent.jsonl"), "or --data with --tokenizer"),
        (("--gpu", "H100", "--data", "absent.jsonl", "--tokenizer", str(BASE_MODEL)), "--data absent.jsonl"),
    ],
)
def test_wrong_input_is_named(folder: Folder, capsys: Output, words: tuple[str, ...], said: str) -> None:
    assert folder.estimate(*words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: ConfigMap", "the file has no FineTuneJob"),
        ("kind: FineTuneJob\nspec: {}", "baseModel"),
        ("a: [", "job.yaml"),
    ],
)
def test_a_file_without_a_job_is_named(folder: Folder, capsys: Output, text: str, said: str) -> None:
    folder.job.write_text(text)
    assert folder.estimate("--gpu", "H100") == 2
    assert said in capsys.readouterr().err


def test_a_base_of_an_unknown_family_is_named(folder: Folder, capsys: Output) -> None:
    folder.base.write_text(json.dumps({**LLAMA_8B, "model_type": "mixtral"}))
    assert folder.estimate("--gpu", "H100") == 2
    assert "model_type 'mixtral' is not one of granite, llama" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--gpu", "H100", "--memory", "80GiB")])
def test_one_of_gpu_and_memory_is_needed(folder: Folder, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        folder.estimate(*words)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("text", "size"), [("24GiB", 24 << 30), ("24Gi", 24 << 30), ("24 GB", 24 * 10**9), ("0.5GiB", 1 << 29)]
)
def test_memory_sizes_are_read(text: str, size: int) -> None:
    assert memory_size(text) == size
    with pytest.raises(InputError):
        memory_size(text + "s")
