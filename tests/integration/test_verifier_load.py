"""Gates of benchmark 14 as counts, by real processes: gateway, verifier and terraform; the engine is a stub."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from loraform_verifier.terraform.toolchain import Terraform

BENCH = Path(__file__).resolve().parents[2] / "bench"
SECONDS = 3.0
"""Of a turn; every caller ends the answer that it waits for."""
Figures = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module("load")
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def figures(bench: ModuleType, terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """The figures of each turn, one after the other against the same processes."""

    async def turns() -> Figures:
        engine = bench.Engine()
        engine.texts = bench.programs()
        async with engine.serving():
            with bench.world(tmp_path_factory.mktemp("world"), engine) as place:
                await bench.load(place, 8, bench.UNVERIFIED, SECONDS / 3)  # imports and caches are filled
                unverified = [await bench.load(place, 8, bench.UNVERIFIED, SECONDS / 3) for _ in range(3)]
                return {
                    # what runs beside it on the machine can only add to its cost
                    "unverified": min(unverified, key=lambda turn: turn["gateway_cpu"]),
                    "distinct": await bench.load(place, 32, bench.BODY, SECONDS),
                    "abandoned": await bench.abandoned(place),
                }

    found = asyncio.run(turns())
    print(found)
    return found


def test_32_callers_with_distinct_programs_share_runs(figures: Figures) -> None:
    distinct = figures["distinct"]
    assert set(distinct["verdicts"]) == {"Passed", "Failed"}
    assert distinct["answers"] >= 32
    assert distinct["starts"]["terraform"] * 8 <= distinct["answers"]
    assert distinct["starts"]["provider"] == 0, "it is kept"
    assert distinct["verifier_cpu"] + distinct["gateway_cpu"] <= 0.2


def test_callers_that_left_cost_no_run(figures: Figures) -> None:
    assert figures["abandoned"]["runs"] == 1, "the fresh answer's own"
    assert figures["abandoned"]["verdict"] in {"Passed", "Failed"}


def test_an_answer_without_verification_costs_two_milliseconds(figures: Figures) -> None:
    unverified = figures["unverified"]
    assert set(unverified["verdicts"]) == {"Unverified"}
    assert unverified["answers"] >= 32
    assert unverified["gateway_cpu"] <= 0.002
    assert unverified["starts"]["terraform"] == 0
