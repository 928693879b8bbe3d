"""A merged run: base and DoRA adapter as one model, measured in an engine of its own and published whole."""

from __future__ import annotations

import json

from loraform_demo.run_kube import Kube
from loraform_demo.run_store import read

from .runs import SUITE_ROWS, few_rows, phase_is, small_job, wait


def test_a_merged_model_is_measured_as_it_is_published(kube: Kube) -> None:
    name = "merged"
    kube.apply(few_rows(name))
    body = small_job(name)
    body["spec"]["output"]["merge"] = True
    body["spec"]["lora"] |= {"variant": "DoRA"}
    kube.apply(body)
    status = wait(kube, name, phase_is("Succeeded"), 1800)
    print(f"\nstages: {status['stages']}\nevaluation: {status['evaluation']}")
    assert [s["name"] for s in status["stages"]] == ["prepare", "train", "baseline", "evaluate", "publish"]
    arms = {arm["name"]: arm for arm in status["evaluation"]["arms"]}
    assert arms.keys() == {"Base", "BaseWithPolicy", "Candidate"}
    assert {arm["rows"] for arm in arms.values()} == {SUITE_ROWS}
    folder = status["artifact"]["uri"].removeprefix("pvc://").partition("/")[2]
    files = json.loads(read(kube, f"{folder}/manifest.json"))["files"]
    assert {"model/config.json", "model/tokenizer.json", "model/model.safetensors"} <= files.keys()
    assert "quantization_config" not in json.loads(read(kube, f"{folder}/model/config.json"))
