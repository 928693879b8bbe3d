"""Gates of benchmark 14 as counts, by real processes: gateway, verifier and terraform; the engine is a stub."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from loraform_verifier.terraform.toolchain import Terraform

BENCH = Path(__file__).resolve().parents[2] / "bench"
SECONDS = 4.0
"""Of a turn; every caller ends the answer that it waits for."""


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    sys.path.insert(0, str(BENCH))
    try:
        return importlib.import_module("load")
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture
def in_world(bench: ModuleType, terraform: Terraform, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that awaits `turn(place)` in a world of its own, with programs of which no two are alike."""

    def run(turn: Callable[[Any], Awaitable[Any]]) -> Any:
        async def inside() -> Any:
            engine = bench.Engine()
            engine.texts = bench.programs()
            async with engine.serving():
                with bench.world(tmp_path, engine) as place:
                    return await turn(place)

        return asyncio.run(inside())

    return run


def test_32_callers_with_distinct_programs_share_runs(bench: ModuleType, in_world: Callable[..., Any]) -> None:
    figures = in_world(lambda place: bench.load(place, 32, bench.BODY, SECONDS))
    print(figures)
    assert set(figures["verdicts"]) == {"Passed", "Failed"}
    assert figures["answers"] >= 32
    assert figures["starts"]["terraform"] * 8 <= figures["answers"]
    assert figures["starts"]["provider"] == 0, "it is kept"
    assert figures["verifier_cpu"] + figures["gateway_cpu"] <= 0.2


def test_callers_that_left_cost_no_run(bench: ModuleType, in_world: Callable[..., Any]) -> None:
    figures = in_world(bench.abandoned)
    print(figures)
    assert figures["runs"] == 1, "the fresh answer's own"
    assert figures["verdict"] in {"Passed", "Failed"}


def test_an_answer_without_verification_costs_two_milliseconds(bench: ModuleType, in_world: Callable[..., Any]) -> None:
    figures = in_world(lambda place: bench.load(place, 8, bench.UNVERIFIED, SECONDS / 2))
    print(figures)
    assert set(figures["verdicts"]) == {"Unverified"}
    assert figures["answers"] >= 100
    assert figures["gateway_cpu"] <= 0.002
    assert figures["starts"]["terraform"] == 0
