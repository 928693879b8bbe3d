"""What a stage imports before it does anything: what not every run of it needs is imported where it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "datasets", "boto3", "numpy", "pyarrow"}


@pytest.mark.parametrize(
    ("stage", "others"),
    [
        ("prepare", {"aiohttp", "asyncio", "rensa", "urllib3"}),
        ("publish", {"aiohttp", "asyncio", "tokenizers"}),
        ("evaluate", {"urllib3"}),
    ],
)
def test_a_stage_starts_without_what_it_may_not_need(stage: str, others: set[str]) -> None:
    code = (
        f"import importlib, sys, loraform_trainer.__main__; importlib.import_module('loraform_trainer.{stage}.stage'); "
        f"print(sorted({HEAVY | others} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
