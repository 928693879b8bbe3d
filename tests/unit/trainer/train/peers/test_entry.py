"""Reports of ranks, and the exit codes of stage train."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraform_api.failures import ExitCode
from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.train.peers import entry
from loraform_trainer.train.peers.launch import SINGLE_PROCESS, ProcessRank

DONE = StageReport(stage=RunStage.TRAIN, message="5 steps")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(workspace=tmp_path, termination_log=tmp_path / "termination-log")


def no_process(rank: ProcessRank) -> StageReport:
    raise AssertionError(f"started rank {rank.rank}")


def test_an_invalid_rank_is_reported_without_a_run(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAFORM_NODES", "two")
    assert entry.run([], paths, 60.0, no_process) == ExitCode.INVALID_CONFIG
    report = StageReport.model_validate_json(paths.termination_log.read_text())
    assert "LORAFORM_NODES: 'two' is not a number" in report.message
    assert not paths.report(RunStage.TRAIN).exists()


def test_a_single_process_runs_here(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORAFORM_NODES", raising=False)
    failed = DONE.model_copy(update={"exit_code": ExitCode.TRAINER_ERROR})
    assert entry.run([], paths, 60.0, lambda rank: DONE if rank == SINGLE_PROCESS else failed) == ExitCode.OK
    assert entry.run([], paths, 60.0, lambda rank: failed) == ExitCode.TRAINER_ERROR


@pytest.mark.parametrize(("rank", "in_workspace"), [(0, True), (1, False)])
def test_only_rank_0_writes_the_report_to_the_workspace(paths: Paths, rank: int, in_workspace: bool) -> None:
    entry.write_report(paths, DONE, ProcessRank(rank=rank, size=2))
    assert paths.termination_log.read_text() == DONE.encode()
    assert paths.report(RunStage.TRAIN).exists() is in_workspace


def test_other_ranks_refer_to_the_report_of_rank_0() -> None:
    assert entry.finished_report(DONE, ProcessRank(rank=0, size=2)) == DONE
    assert entry.finished_report(DONE, ProcessRank(rank=1, size=2)).message == (
        "rank 1 of 2; the report is that of rank 0"
    )
