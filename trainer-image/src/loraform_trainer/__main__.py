"""`python -m loraform_trainer <stage>`: runs one stage of a FineTuneJob and writes its report."""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import FrameType

from pydantic import ValidationError
from typing_extensions import override

from loraform_api.names import RunStage
from loraform_api.run import RunConfig, StageReport
from loraform_trainer.runtime import stage_report
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import InvalidConfigError, redact
from loraform_trainer.runtime.failure_report import failure_report
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.runtime.progress import Progress, sender
from loraform_trainer.train.peers import entry
from loraform_trainer.train.peers.launch import SINGLE_PROCESS, ProcessRank

log = logging.getLogger("loraform_trainer")

SETTINGS: dict[str, tuple[type, str]] = {
    "mount_wait_seconds": (float, "seconds to wait for a mounted file"),
    "peer_wait_seconds": (float, "seconds that a training process waits for the others to join"),
    "peer_silence_seconds": (float, "seconds without a heartbeat after which a training process counts as lost"),
    "sidecar_wait_seconds": (float, "seconds to wait until engine and verifier are ready"),
    "engine_url": (str, "URL of the engine in this pod"),
    "verifier_url": (str, "URL of the verifier in this pod"),
}
"""Fields of `Context` that the command line sets."""

MODULES = {
    RunStage.PREPARE: "loraform_trainer.prepare.stage",
    RunStage.TRAIN: "loraform_trainer.train.stage",
    RunStage.BASELINE: "loraform_trainer.evaluate.baseline",
    RunStage.EVALUATE: "loraform_trainer.evaluate.stage",
    RunStage.PUBLISH: "loraform_trainer.publish.stage",
}
"""The module of each stage. It is imported only when its stage runs: torch takes seconds, and few stages need it."""

TERMINATED = 128 + signal.SIGTERM


class _RedactedFormatter(logging.Formatter):
    @override
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage that the command line names; return its exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(argv)
    _configure_logging()
    stage = RunStage(options.stage)
    paths = Paths(**{f.name: getattr(options, f.name) for f in fields(Paths)})
    settings = {name: getattr(options, name) for name in SETTINGS}
    stop = threading.Event()

    def run_process(rank: ProcessRank) -> StageReport:
        _on_sigterm(stage, stop)
        report = execute(
            stage, paths, lambda config, progress: Context(config, paths, progress, stop, **settings), rank
        )
        log.info("stage %s ended with exit code %d: %s", stage, report.exit_code, report.message)
        return report

    if stage is RunStage.TRAIN:
        return entry.run(argv, paths, options.peer_silence_seconds, run_process)
    return int(run_process(SINGLE_PROCESS).exit_code)


def execute(
    stage: RunStage,
    paths: Paths,
    build: Callable[[RunConfig, Progress], Context],
    rank: ProcessRank = SINGLE_PROCESS,
) -> StageReport:
    """Run a stage, write its report and return it; a stage that finished before only writes its report again."""
    finished = stage_report.read(paths, stage)
    if finished is not None:
        log.info("stage %s has already finished; writing its report again", stage)
        report = entry.finished_report(finished, rank)
        entry.write_report(paths, report, rank)
        return report
    try:
        config = load_config(paths.run_config)
        with Progress(sender() if rank.is_main else None) as progress:
            return entry.run_in_group(stage, partial(_run_stage, stage), build(config, progress), rank)
    except Exception as error:  # every failure becomes a report
        report = failure_report(stage, error)
        entry.write_report(paths, report, rank)
        return report


def _configure_logging() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # importing peft makes it warn of an unused kernel


def load_config(path: Path) -> RunConfig:
    """Read the run config; raises InvalidConfigError that names the first invalid field."""
    try:
        return RunConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidConfigError(f"the run config {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidConfigError(
            f"the run config {path} is invalid at {field or 'its root'}: {first['msg']}"
        ) from error


def _run_stage(stage: RunStage, context: Context) -> StageReport:
    report: StageReport = importlib.import_module(MODULES[stage]).run(context)
    return report


def _on_sigterm(stage: RunStage, stop: threading.Event) -> None:
    """Make SIGTERM set `stop` in stage train, which saves a checkpoint, and end any other stage at once.

    As process 1 of a container, the program must handle the signal to be ended by it at all.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if stage is not RunStage.TRAIN:
            sys.exit(TERMINATED)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # `supervise` starts its children with it blocked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loraform_trainer", description=__doc__)
    parser.add_argument("stage", choices=[str(stage) for stage in RunStage])
    for field in fields(Paths):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=Path, default=field.default, metavar="PATH", help="default: %(default)s")
    defaults = {f.name: f.default for f in fields(Context)}
    for name, (kind, meaning) in SETTINGS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=defaults[name], help=f"{meaning} (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
