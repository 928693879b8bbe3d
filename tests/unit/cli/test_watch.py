"""Following an object: live on a terminal, otherwise line by line."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import IaCModel
from loraform_cli.cluster import Unreachable
from loraform_cli.display import arms_table
from loraform_cli.object_state import ObjectState
from loraform_cli.watch import Watch

from .conftest import DIGEST, condition

Job = Callable[..., FineTuneJob]


class Clock:
    """A clock that advances only by pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


ENDPOINT = {"url": "http://here", "authentication": "Open"}


def reader(*results: FineTuneJob | Exception) -> Callable[[], FineTuneJob]:
    """Return a function that returns each result once, then always the last one."""
    waiting: Iterator[FineTuneJob | Exception] = iter(results[:-1])

    def read() -> FineTuneJob:
        result = next(waiting, results[-1])
        if isinstance(result, Exception):
            raise result
        return result

    return read


def follow(
    read: Callable[[], FineTuneJob], timeout: float | None = None, *, terminal: bool = False
) -> tuple[ObjectState, str]:
    """Watch to the end; return state and output."""
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=200)
    watch = Watch(read, console, clock=clock, pause=clock.pause)
    end = watch.until_done(timeout)
    watch.print_result()
    return end, out.getvalue()


def test_a_job_is_followed_to_its_success(make_job: Job, evaluation: dict[str, Any]) -> None:
    running = make_job(conditions=[condition("Succeeded", "Unknown", "Training", "step 3")])
    artifact = {"uri": "pvc://store/adapters/lora", "digest": DIGEST, "sizeBytes": 9}
    done = make_job(conditions=[condition("Succeeded", "True", "Done")], evaluation=evaluation, artifact=artifact)
    end, printed = follow(reader(running, running, done))
    assert end is ObjectState.SUCCESS
    assert "  0:00  Succeeded=Unknown (Training): step 3\n  0:02  Succeeded=True (Done)" in printed
    assert "193 only the candidate passed" in printed
    assert "adapter aaaaaaaaaaaaaaaa at pvc://store/adapters/lora" in printed


def test_a_failed_job_ends_the_watch(make_job: Job) -> None:
    end, printed = follow(reader(make_job(conditions=[condition("Stalled", "True", "DatasetInvalid", "no rows")])))
    assert end is ObjectState.FAILURE
    assert "Stalled=True (DatasetInvalid): no rows" in printed


def test_an_unreachable_cluster_is_retried(make_job: Job) -> None:
    done = make_job(conditions=[condition("Succeeded", "True")])
    end, printed = follow(reader(Unreachable("connection refused"), done))
    assert end is ObjectState.SUCCESS
    assert "retrying: connection refused" in printed


def test_a_timeout_ends_the_watch(make_job: Job) -> None:
    end, _ = follow(reader(make_job()), timeout=5)
    assert end is ObjectState.RUNNING


def test_a_terminal_shows_every_stage(make_job: Job) -> None:
    done = make_job(conditions=[condition("Succeeded", "True")], progress={"percentage": 50}, phase="Training")
    end, printed = follow(reader(done), terminal=True)
    assert end is ObjectState.SUCCESS
    assert all(word in printed for word in ("finetunejob/lora", "Training", "prepare", "train", "evaluate", "publish"))


def test_a_model_shows_its_versions(make_model: Callable[..., IaCModel]) -> None:
    version = {"version": 1, "job": "lora", "digest": DIGEST, "decision": "Accepted", "message": "better"}
    ready = make_model(conditions=[condition("Ready", "True")], versions=[version], liveVersion=1, endpoint=ENDPOINT)
    out = io.StringIO()
    watch = Watch(lambda: ready, Console(file=out, force_terminal=True, no_color=True, highlight=False, width=100))
    assert watch.until_done() is ObjectState.SUCCESS
    watch.print_result()
    assert "Accepted" in out.getvalue()
    assert "answers at http://here" in out.getvalue()


def test_the_table_of_arms_has_raw_and_served_rates(make_job: Job, evaluation: dict[str, Any]) -> None:
    status = make_job(evaluation=evaluation).status.evaluation
    assert status is not None
    out = io.StringIO()
    Console(file=out, width=80).print(arms_table(status))
    lines = [line for line in out.getvalue().splitlines() if "raw" in line or "served" in line]
    assert any("Candidate" in line and line.count("98.5") == 5 for line in lines)
    assert sum(line.count("100.0") for line in lines) == 10
