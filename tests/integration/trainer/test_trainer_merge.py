"""`output.merge`: the model that train leaves says what base and adapter said, needs no peft, is published whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from loraform_api.artifact import Manifest
from loraform_api.failures import ExitCode
from loraform_api.names import ENGINE_MODEL, RunStage
from loraform_engine.parity import ParityFile
from loraform_trainer.__main__ import load_config
from loraform_trainer.evaluate import baseline
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import NonFiniteLossError, StageError
from loraform_trainer.runtime.files import read_jsonl, sha256_file
from loraform_trainer.runtime.progress import Progress
from loraform_trainer.train import model as models
from loraform_trainer.train import parity
from loraform_trainer.train.merge import merge
from loraform_trainer.train.token_rows import TokenRow

from .conftest import Pod, new_pod
from .fake_engine import FakeEngine, run

Stage = Callable[..., int]
ROUNDING = 1e-4


@pytest.fixture
def merging(pod: Pod) -> Any:
    """The test's run merges."""
    return merges(pod)


@pytest.fixture(scope="module")
def merged(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run up to train that has merged an adapter as specs have it when they say nothing of it."""
    made = merges(new_pod(tmp_path_factory.mktemp("merged"), base_model))
    assert made.run("prepare") == 0
    assert made.run("train") == 0
    return made


def merges(pod: Pod) -> Pod:
    """Let a run merge; its base gets a head of its own."""
    spec = pod.config["spec"]
    spec["output"]["merge"] = True
    spec["training"] |= {"epochs": 1, "learningRate": "1e-2"}
    untie(pod.paths.base_mount / "tiny")
    return pod


def untie(base: Path) -> None:
    weights = load_file(base / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))


def told(model: Any, file: ParityFile) -> list[list[float]]:
    """Log-probabilities of the parity file's responses by `model`."""
    return [parity.logprobs(model.eval(), TokenRow("", r.prompt_ids, r.response_ids)) for r in file.rows]


def furthest(left: list[list[float]], right: list[list[float]]) -> float:
    return max(abs(x - y) for a, b in zip(left, right, strict=True) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    "lora",
    [
        {"scaling": "RankStabilized", "targetModules": ["q_proj", "down_proj"]},
        {"variant": "DoRA"},
        {"modulesToSave": ["lm_head", "norm"]},
        {"variant": "DoRA", "modulesToSave": ["embed_tokens", "input_layernorm"], "targetModules": ["v_proj"]},
        {"method": "QLoRA"},
        {"method": "QLoRA", "variant": "DoRA", "modulesToSave": ["lm_head"]},
    ],
    ids=lambda lora: "-".join(f"{v}" for v in lora.values()),
)
def test_the_merged_model_says_what_base_and_adapter_said(merging: Any, stage: Stage, lora: dict[str, Any]) -> None:
    spec = merging.config["spec"]
    spec["method"] = lora.pop("method", "LoRA")
    spec["lora"] |= lora
    assert stage("prepare") == 0, merging.report().message
    assert stage("train") == 0, merging.report().message
    says_the_same(merging)


def test_a_plain_merged_model_says_what_base_and_adapter_said(merged: Any) -> None:
    says_the_same(merged)


def says_the_same(run: Any) -> None:
    """Compare the merged model with what train measured of adapter and base."""
    file = ParityFile.model_validate_json((run.paths.adapter / "parity.json").read_text())
    merged = AutoModelForCausalLM.from_pretrained(run.paths.model, local_files_only=True)
    assert type(merged) is LlamaForCausalLM
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    assert furthest(told(merged, file), [r.adapter_logprobs for r in file.rows]) < ROUNDING
    assert furthest(told(merged, file), [r.base_logprobs for r in file.rows]) > 0.1


def test_rows_of_zeros_have_a_length_for_dora(merging: Any, stage: Stage) -> None:
    """Pruned and padded bases have some; peft divides by their length."""
    file = merging.paths.base_mount / "tiny" / "model.safetensors"
    weights = load_file(file)
    for name, rows in (("self_attn.q_proj", 8), ("mlp.up_proj", 128)):
        weights[f"model.layers.0.{name}.weight"][:rows] = 0
    save_file(weights, file, {"format": "pt"})
    merging.config["spec"]["lora"] |= {"variant": "DoRA"}
    assert stage("prepare") == 0
    assert stage("train") == 0, merging.report().message
    parities = ParityFile.model_validate_json((merging.paths.adapter / "parity.json").read_text())
    merged = AutoModelForCausalLM.from_pretrained(merging.paths.model, local_files_only=True)
    assert furthest(told(merged, parities), [r.adapter_logprobs for r in parities.rows]) < ROUNDING


def test_the_folder_is_a_whole_model_and_no_more(merged: Any) -> None:
    names = {file.name for file in merged.paths.model.iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"}
    config = json.loads((merged.paths.model / "config.json").read_text())
    base = json.loads((merged.paths.base / "config.json").read_text())
    assert config.pop("use_cache", True)
    base.pop("use_cache", None)
    assert config == base
    assert set(load_file(merged.paths.model / "model.safetensors")) == set(
        load_file(merged.paths.base / "model.safetensors")
    )
    assert not list(merged.paths.workspace.glob(".model*"))


def test_a_weight_is_summed_in_float32_and_rounded_once(merging: Any, stage: Stage) -> None:
    merging.config["engineDtype"] = "bfloat16"
    assert stage("prepare") == 0
    assert stage("train") == 0
    adapter = load_file(merging.paths.adapter / "adapter_model.safetensors")
    frozen = load_file(merging.paths.base / "model.safetensors")
    merged = load_file(merging.paths.model / "model.safetensors")
    name = "model.layers.1.mlp.down_proj"
    up, down = (adapter[f"base_model.model.{name}.lora_{matrix}.weight"] for matrix in "BA")
    exact = frozen[f"{name}.weight"].bfloat16().float() + 2.0 * (up @ down)
    assert torch.equal(merged[f"{name}.weight"], exact.bfloat16())
    assert not torch.equal(merged[f"{name}.weight"], frozen[f"{name}.weight"].bfloat16())


def test_an_adapter_that_is_no_number_is_not_merged(base_model: Path, pod: Any) -> None:
    model = models.build(pod.run_config(), base_model)
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "lora_B" in name).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match="the adapter cannot be merged"):
        merge(model)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"lora": {"modulesToSave": ["q_proj"]}}, 78, "spec.lora.modulesToSave: the base model has no layer 'q_proj'"),
        ({"lora": {"modulesToSave": ["head"]}}, 78, "choose from embed_tokens, input_layernorm, lm_head, norm, post"),
        (
            {"method": "QLoRA", "placement": {"resources": {"memory": "0Mi"}}},
            78,
            "spec.placement.resources.memory: 0Mi is less than the base model's",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused_before_a_gpu_is_held(
    merging: Any, stage: Stage, changes: dict[str, Any], code: int, words: str
) -> None:
    merging.config["spec"] |= changes
    assert stage("prepare") == code
    assert words in merging.report().message


def test_the_embedding_of_a_tied_base_is_not_trained_whole(pod: Any, stage: Stage) -> None:
    pod.config["spec"] |= {"lora": {"modulesToSave": ["embed_tokens"]}}
    pod.config["spec"]["output"]["merge"] = True
    assert stage("prepare") == ExitCode.INVALID_CONFIG
    assert "has no layer 'embed_tokens' that is not adapted; choose from input_layernorm" in pod.report().message


def test_model_and_adapter_are_published_together(merged: Any, tmp_path: Path) -> None:
    done = merged.copied_to(tmp_path)
    done.paths.evaluation_rows.parent.mkdir(exist_ok=True)
    done.paths.evaluation_rows.write_text("{}\n")
    assert done.run("publish") == 0
    (folder,) = (done.paths.output_mount / "team" / "adapters").iterdir()
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    files = {name for name in manifest.files if name.startswith("model/")}
    assert files == {f"model/{file.name}" for file in done.paths.model.iterdir()}
    assert all(sha256_file(folder / name) == manifest.files[name] for name in files)
    assert "adapter_model.safetensors" in manifest.files


def context(pod: Any, urls: tuple[str, str]) -> Context:
    pod.write_config()
    config = load_config(pod.paths.run_config)
    return Context(config, pod.paths, Progress(None), sidecar_wait_seconds=5, engine_url=urls[0], verifier_url=urls[1])


async def test_base_and_merged_model_answer_in_engines_of_their_own(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    alone = (await run(trained, urls)).evaluate
    trained.config["spec"]["output"]["merge"] = True
    trained.paths.evaluation_answers.unlink()  # another run has answers of its own
    engine.requests.clear()
    report = await baseline.answer_suites(context(trained, urls))
    assert (report.stage, report.message) == (RunStage.BASELINE, "6 answers of the base")
    assert {body["model"] for body in engine.requests} == {ENGINE_MODEL}
    assert [line["arm"] for line in read_jsonl(trained.paths.baseline_answers)] == ["Base"] * 3 + ["BaseWithPolicy"] * 3
    engine.requests.clear()
    engine.merge(trained.paths.adapter)
    result = (await run(trained, urls)).evaluate
    assert len(engine.requests) == 3
    assert {body["model"] for body in engine.requests} == {ENGINE_MODEL}
    assert result == alone


@pytest.fixture
async def answered(trained: Any, engine: FakeEngine, urls: tuple[str, str]) -> Any:
    """A merged run up to `baseline`, and the engine of the merged model."""
    trained.config["spec"]["output"]["merge"] = True
    await baseline.answer_suites(context(trained, urls))
    engine.merge(trained.paths.adapter)
    return trained


async def test_an_engine_that_serves_the_base_instead_is_found_out(
    answered: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    engine.serves_base = True
    with pytest.raises(StageError, match="answers as the base model"):
        await run(answered, urls)


async def test_answers_to_other_questions_are_not_taken(answered: Any, urls: tuple[str, str]) -> None:
    lines = answered.paths.baseline_answers.read_text().splitlines(keepends=True)
    answered.paths.baseline_answers.write_text("".join(lines[1:]))
    with pytest.raises(StageError, match=r"baseline.jsonl does not match the suites of this run"):
        await run(answered, urls)
