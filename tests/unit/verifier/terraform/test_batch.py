"""Batches: errors are assigned to programs, culprits run alone, unusable runs are split."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from loraform_verifier.sandbox import isolation
from loraform_verifier.sandbox.isolation import Finished
from loraform_verifier.terraform.batch import (
    BATCH_SIZE,
    SHARED,
    BatchResult,
    Deadlines,
    Runner,
    blamed,
    by_program,
    failure_diagnostic,
    in_batches,
    missing_provider,
    parts,
)
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Provider, Terraform


def judged(index: int, program: str) -> str:
    return f"{program} alone"


def test_one_run_suffices_if_it_decides_all_programs() -> None:
    runs: list[list[int]] = []

    def together(programs: dict[int, str]) -> BatchResult[str]:
        runs.append(list(programs))
        return BatchResult(dict(programs))

    programs = {index: f"p{index}" for index in range(BATCH_SIZE + 10)}
    assert in_batches(programs, together, judged) == programs
    assert [len(run) for run in runs] == [130, 130]


def test_decided_programs_leave_and_the_rest_runs_again() -> None:
    def together(programs: dict[int, str]) -> BatchResult[str]:
        failing = {i: f"{p} failed" for i, p in programs.items() if p == "bad"}
        return BatchResult(failing or {i: f"{p} passed" for i, p in programs.items()})

    outcomes = in_batches({0: "bad", 1: "a", 2: "b"}, together, judged)
    assert outcomes == {0: "bad failed", 1: "a passed", 2: "b passed"}


def test_blamed_programs_run_alone() -> None:
    def together(programs: dict[int, str]) -> BatchResult[str]:
        return BatchResult({}, {1}) if 1 in programs else BatchResult(dict(programs))

    assert in_batches({0: "a", 1: "cycle", 2: "b"}, together, judged) == {0: "a", 1: "cycle alone", 2: "b"}


def test_an_unusable_run_is_split_until_the_culprit_is_alone() -> None:
    def together(programs: dict[int, str]) -> BatchResult[str] | None:
        return None if "hang" in programs.values() else BatchResult(dict(programs))

    outcomes = in_batches(dict.fromkeys(range(20), "good") | {7: "hang"}, together, judged)
    assert outcomes.pop(7) == "hang alone"
    assert len(outcomes) == 19
    assert [i for i, outcome in outcomes.items() if outcome != "good"] == [6, 8]  # they shared its part


def test_a_run_that_decides_nothing_is_split() -> None:
    assert in_batches({0: "a", 1: "b"}, lambda _: BatchResult(), judged) == {0: "a alone", 1: "b alone"}


def test_errors_belong_to_the_program_of_their_file() -> None:
    errors = [
        {"summary": "a", "range": {"filename": "r3/modules/net/main.tf"}},
        {"summary": "b", "range": {"filename": "loraform.tf.json"}},
        {"summary": "c", "range": {"filename": "canary/main.tf"}},
        {"summary": "d", "detail": "module.r5.local.a (expand), module.r5.local.b"},
    ]
    assert by_program(errors) == {3: [errors[0]]}
    assert blamed(errors) == {5}


def test_names_that_look_like_batch_modules_blame_no_program() -> None:
    long = "r" + "9" * 5000
    cycle = {"summary": f"Cycle: module.r1.module.{long}.var.v (expand), module.{long}.output.o"}
    assert blamed([cycle, {"summary": "Bad", "detail": f"{long}/main.tf:1"}]) == {1}
    assert by_program([{"range": {"filename": f"{long}/main.tf"}}]) == {}


def test_blame_is_linear_in_the_text() -> None:
    def cost(length: int) -> float:
        costs = []
        for _ in range(3):
            started = time.process_time()
            assert blamed([{"summary": "Bad", "detail": "r1/" * length}]) == set()
            costs.append(time.process_time() - started)
        return min(costs)

    assert cost(16_000) < 8 * cost(4_000)  # 16 times where it grows with the square


def test_a_missing_provider_is_named() -> None:
    terraform = Terraform(Path("t"), "Terraform", "1", (Provider("hashicorp", "aws", "5", Path("p")),))
    assert missing_provider(terraform, {"aws", "terraform"}) is None
    absent = missing_provider(terraform, {"aws", "random"})
    assert absent is not None
    assert (absent.code, absent.message) == (
        "ProviderMissing",
        "Provider 'random' is not installed here; installed: hashicorp/aws.",
    )


def test_a_stopped_child_differs_from_a_failed_one() -> None:
    assert failure_diagnostic(Finished(-9, b"", b"")).code == "Timeout"
    failed = failure_diagnostic(Finished(2, b"", b"out of\nmemory"))
    assert (failed.code, failed.message) == (
        "TerraformFailed",
        "terraform failed without a diagnostic (exit status 2): out of memory",
    )


def test_parts_are_of_nearly_equal_size_and_never_empty() -> None:
    assert list(parts([1, 2, 3, 4, 5], 2)) == [[1, 2, 3], [4, 5]]
    assert list(parts([1], 8)) == [[1]]
    assert list(parts([], 0)) == []


class CountingServers(ProviderServers):
    """Counts how often all providers are stopped; starts none."""

    def __init__(self) -> None:
        self.drops = 0

    def environment(self, local_names: Iterable[str]) -> dict[str, str]:
        return {}

    def drop(self) -> None:
        self.drops += 1


@pytest.mark.parametrize(
    ("finished", "drops"),
    [
        pytest.param(Finished(0, b"", b""), 0, id="usable"),
        pytest.param(Finished(-signal.SIGXCPU, b"", b""), 0, id="terraform beyond its processor time"),
        pytest.param(Finished(2, b"", b"fatal error: out of memory"), 0, id="terraform beyond its memory"),
        pytest.param(Finished(-signal.SIGKILL, b"", b"", timed_out=True), 1, id="it waited, perhaps for a provider"),
        pytest.param(Finished(1, b"", b""), 1, id="a provider crashed"),
    ],
)
def test_providers_are_stopped_after_a_run_that_they_may_have_spoiled(
    finished: Finished, drops: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "run", lambda *_, **__: finished)
    servers = CountingServers()
    terraform = Terraform(tmp_path / "terraform", "Terraform", "1.11.4", ())
    runner = Runner(terraform, Deadlines(), servers, time.monotonic() + 60)
    runner.run(tmp_path, ("validate",), (), lambda f: f.returncode == 0, programs=2)
    assert servers.drops == drops


def test_programs_of_several_callers_get_one_run_and_no_other() -> None:
    runs = 0

    def together(programs: dict[int, str]) -> None:
        nonlocal runs
        runs += 1

    programs = {index: f"p{index}" for index in range(40)}
    outcomes = in_batches(programs, together, lambda _index, _program: "apart", ways=SHARED.ways)
    assert (runs, set(outcomes.values()), len(outcomes)) == (1, {"apart"}, 40)
