"""The verifier's own checks: their cost grows as the program does, and they keep no large syntax tree."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import pytest

from loraform_api.verification import IntentSpec, Program, StageResult
from loraform_verifier.hcl.configuration import files_of
from loraform_verifier.schema.catalogue import schema_paths
from loraform_verifier.stages import own_checks
from loraform_verifier.stages.own_checks import Sources

from .programs_that_grow import KINDS, POLICY, PROMPT

MOST = 3.0
"""Times as much for twice the program; a quadratic check takes four times as much."""
UNNOTICED = 0.04
"""Seconds of processor time below which a check is not judged."""
MOST_MEASUREMENTS = 6
"""Measurements of a check that seems to grow too fast: other load only adds to a time."""
SCHEMAS = tuple(schema_paths())


@pytest.fixture(autouse=True)
def without_collections() -> Iterator[None]:
    """Keep collections of what other tests loaded out of the measurement."""
    gc.disable()
    yield
    gc.enable()


def seconds_by_check(program: Program) -> dict[str, float]:
    """Return processor seconds of each check."""
    sources = Sources(tuple(files_of(program).items()))
    checks = {
        "read": lambda: own_checks.read(sources, POLICY),
        "schema": lambda: own_checks.check_schema(sources, SCHEMAS, None),
        "prepare": lambda: own_checks.prepare(sources, None, to_plan=True),
        "policy": lambda: own_checks.check_policy(sources, None, POLICY, PROMPT),
        "intent": lambda: own_checks.check_intent(sources, IntentSpec(types=["a"], names=["b"], values=["c"])),
    }
    if own_checks.read(sources, None).problems:
        checks = {"read": checks["read"]}
    times = {}
    for name, check in checks.items():
        started = time.process_time()
        check()
        times[name] = time.process_time() - started
    return times


def least(*measured: dict[str, float]) -> dict[str, float]:
    return {name: min(times[name] for times in measured) for name in measured[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_program_costs_about_twice_as_much(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_checks, "KEPT_BYTES", 10_000_000)  # each check is measured without the parsing
    program_of, size = KINDS[kind]
    half, whole = program_of(size // 2), program_of(size)
    once, twice, growth = seconds_by_check(half), seconds_by_check(whole), {}
    for _ in range(MOST_MEASUREMENTS):
        growth = {name: (once[name], of) for name, of in twice.items() if of > max(UNNOTICED, MOST * once[name])}
        if not growth:
            break
        once, twice = least(once, seconds_by_check(half)), least(twice, seconds_by_check(whole))
    assert growth == {}


def test_trees_are_kept_while_they_are_small() -> None:
    kept = own_checks._Kept()
    small = [Sources((("main.tf", f"locals {{\n  a = {n}\n}}\n"),)) for n in range(3)]
    large = Sources((("main.tf", "# a\n" * (own_checks.KEPT_BYTES // 4 + 1)),))
    first = [kept.parsed(sources) for sources in small]
    assert [kept.parsed(sources) for sources in small] == first
    kept.parsed(large)
    assert kept.parsed(large) is not kept.parsed(large)
    assert kept.parsed(small[0]) is not first[0]  # it went, so that the large one had room


def test_a_program_that_may_not_reach_terraform_is_refused() -> None:
    refused = own_checks.prepare(Sources((("override.tf", "locals {\n}\n"),)), None, to_plan=False)
    assert isinstance(refused, StageResult)
    assert [d.code for d in refused.diagnostics] == ["BlockedByPolicy"]
