"""Runs stage train as one process of several: which process this is, its group, and which process writes the report."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import NoReturn

from loraform_api.failures import ExitCode
from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_trainer.runtime import stage_report
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import InvalidConfigError, PeerLostError
from loraform_trainer.runtime.failure_report import failure_report
from loraform_trainer.runtime.group import ALONE, TrainingGroup
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.train.peers.launch import ProcessRank, read_rank, supervise


def run(
    arguments: Sequence[str], paths: Paths, silence_seconds: float, run_process: Callable[[ProcessRank], StageReport]
) -> int:
    """Run `run_process` as the rank that the environment describes, or start a process for each GPU of the pod.

    Return the exit code. `arguments` are the program's own.
    """
    try:
        rank = read_rank(os.environ)
    except InvalidConfigError as error:
        report = failure_report(RunStage.TRAIN, error)
        stage_report.write_termination_message(paths, report)
        return int(report.exit_code)
    if rank.local_rank is None:
        return supervise(arguments, rank.processes, paths.termination_log, 2 * silence_seconds)
    report = run_process(rank)
    if rank.size > 1 and report.exit_code is not ExitCode.OK:
        _exit_now(report.exit_code)
    return int(report.exit_code)


def run_in_group(
    stage: RunStage, run_stage: Callable[[Context], StageReport], context: Context, rank: ProcessRank
) -> StageReport:
    """Run a stage as a member of its group, write this rank's report, and wait for the other ranks."""
    with _join(stage, context, rank) as group:
        report = run_stage(replace(context, group=group))
        write_report(context.paths, report, rank)
        with suppress(PeerLostError) if rank.is_main else nullcontext():  # rank 0's report stays valid
            group.wait()
    return report


def finished_report(report: StageReport, rank: ProcessRank) -> StageReport:
    """Return what a rank reports of a stage that has finished: rank 0 the report, the others a reference to it."""
    if rank.is_main:
        return report
    return StageReport(stage=report.stage, message=f"rank {rank.rank} of {rank.size}; the report is that of rank 0")


def write_report(paths: Paths, report: StageReport, rank: ProcessRank) -> None:
    """Write a report: rank 0 to the workspace and the termination message, other ranks to the latter only."""
    write = stage_report.write if rank.is_main else stage_report.write_termination_message
    write(paths, report)


def _join(stage: RunStage, context: Context, rank: ProcessRank) -> AbstractContextManager[TrainingGroup]:
    """Return the group of a process: itself alone, or with all other ranks once they have met."""
    if rank.size == 1:
        return nullcontext(ALONE)
    from loraform_trainer.train.peers import distributed  # noqa: PLC0415 (imports torch)

    def on_peer_lost(message: str) -> None:
        report = failure_report(stage, PeerLostError(message))
        write_report(context.paths, report, rank)
        _exit_now(report.exit_code)

    timeouts = distributed.PeerTimeouts(context.peer_wait_seconds, context.peer_silence_seconds)
    return distributed.join(rank, context.stop, timeouts, on_peer_lost)


def _exit_now(code: ExitCode) -> NoReturn:
    """End the process by `os._exit`: a normal shutdown blocks on dead collectives."""
    logging.shutdown()
    os._exit(code)
