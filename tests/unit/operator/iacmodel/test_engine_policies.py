"""Each reason why a model's engine cannot serve a version, and that a fitting one has none."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_api.iacmodel import ServingSpec
from loraform_api.training import Method
from loraform_operator.iacmodel.engine_policies import engine_refusal
from loraform_operator.settings import Profile

PROFILE: dict[str, Any] = {"engine_image": "engine:1", "engine_dtype": "float32"}


@pytest.mark.parametrize(
    ("version", "max_rank", "profile", "words"),
    [
        ({"rank": 16}, 16, {}, ""),
        ({"rank": 17}, 16, {}, "maxRank is 16, but its adapter has rank 17: use 17 or more"),
        ({"rank": 64}, 128, {"max_lora_rank": 32}, "at most rank 32 (its `maxLoraRank`), but its adapter has rank 64"),
        (
            {"method": Method.QLORA},
            64,
            {},
            "cannot load the base in 4 bits, but it was trained and measured with QLoRA",
        ),
        ({"method": Method.QLORA}, 64, {"nf4_engine_args": ["--quantization", "bitsandbytes"]}, ""),
        ({}, 64, {"engine_dtype": "bfloat16"}, "computes in bfloat16, but it was trained and measured in float32"),
    ],
)
def test_refusal(build, version: dict[str, Any], max_rank: int, profile: dict[str, Any], words: str) -> None:
    serving = ServingSpec.model_validate({"lora": {"maxRank": max_rank}})
    refusal = engine_refusal(build.version(1, **version), serving, Profile(**{**PROFILE, **profile}))
    assert words in refusal
    assert bool(refusal) is bool(words)
    assert not refusal or refusal.startswith("spec.serving.")
