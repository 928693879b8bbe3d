"""What benchmark 7 rests on, as counts: processes that a batch starts, and the same verdicts as terraform alone."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

from loraform_verifier.terraform.toolchain import Terraform

from ..drawn import seed

BENCH = Path(__file__).resolve().parents[2] / "bench/validation.py"
ALONE = 3


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_validation", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kept", "providers"), [(False, 2), (True, 1)])
def test_a_batch_starts_terraform_once(bench: ModuleType, terraform: Terraform, kept: bool, providers: int) -> None:
    texts = [bench.program(number, random.Random(number)) for number in range(100)]
    started = bench.starts(texts, terraform, kept=kept)
    assert started["terraform"] == 1
    assert started["provider"] <= providers


def test_the_peer_agrees(bench: ModuleType, terraform: Terraform) -> None:
    texts = [bench.program(number, random.Random(number)) for number in range(20)]
    found = bench.ours(texts, terraform, kept=True)
    sample = random.Random(seed()).sample(range(20), ALONE)
    assert bench.peer([texts[i] for i in sample], terraform) == [found[i] for i in sample]
