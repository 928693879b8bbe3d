"""`python -m loraform_trainer <stage>`: runs one stage and leaves its report."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType

from pydantic import ValidationError
from typing_extensions import override

from loraform_api.failures import ExitCode
from loraform_api.names import RunStage
from loraform_api.run import RunConfig, StageReport
from loraform_trainer.runtime import stage_report
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import InvalidConfigError, PeerLostError, StageError, classify, redact
from loraform_trainer.runtime.group import ALONE, Group
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.runtime.progress import Progress, sender
from loraform_trainer.train.peers import launch
from loraform_trainer.train.peers.launch import LONE, Place

log = logging.getLogger("loraform_trainer")

SETTINGS: dict[str, tuple[type, str]] = {
    "mount_wait_seconds": (float, "how long a mounted file may be late"),
    "peer_wait_seconds": (float, "how long a training process waits for the others to come"),
    "peer_silence_seconds": (float, "how long nothing may be heard of a training process"),
    "sidecar_wait_seconds": (float, "how long engine and verifier may take to answer"),
    "engine_url": (str, "the engine beside this stage"),
    "verifier_url": (str, "the verifier beside this stage"),
}
"""Fields of `Context` that the command line sets."""

MODULES = {
    RunStage.PREPARE: "loraform_trainer.prepare.stage",
    RunStage.TRAIN: "loraform_trainer.train.stage",
    RunStage.BASELINE: "loraform_trainer.evaluate.baseline",
    RunStage.EVALUATE: "loraform_trainer.evaluate.stage",
    RunStage.PUBLISH: "loraform_trainer.publish.stage",
}
"""The module of each stage; imported only when the stage runs, as torch takes seconds and not every stage needs it."""

TERMINATED = 128 + signal.SIGTERM


class _RedactedFormatter(logging.Formatter):
    @override
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage that the command line names; return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(words)
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # warns, as peft imports it, of a kernel that is not used
    paths = Paths(**{f.name: getattr(options, f.name) for f in fields(Paths)})
    settings = {name: getattr(options, name) for name in SETTINGS}
    stage = RunStage(options.stage)
    try:
        place = launch.place(os.environ) if stage is RunStage.TRAIN else LONE
    except InvalidConfigError as error:
        report = _failed(stage, error)
        stage_report.tell(paths, report)
        return int(report.exit_code)
    if place.local is None:
        return launch.supervise(words, place.processes, paths.termination_log, 2 * options.peer_silence_seconds)
    stop = threading.Event()
    _on_sigterm(stage, stop)
    report = execute(stage, paths, lambda config, progress: Context(config, paths, progress, stop, **settings), place)
    log.info("%s: exit code %d: %s", stage, report.exit_code, report.message)
    if place.size > 1 and report.exit_code is not ExitCode.OK:
        _leave_at_once(report.exit_code)
    return int(report.exit_code)


def execute(
    stage: RunStage, paths: Paths, build: Callable[[RunConfig, Progress], Context], place: Place = LONE
) -> StageReport:
    """Run a stage and write its report; a stage that finished before only shows its report again.

    Of processes that train together, the one of rank 0 reports; the others say that they took part.
    """
    main = place.rank == 0
    write = stage_report.write if main else stage_report.tell
    finished = stage_report.read(paths, stage)
    if finished is not None:
        log.info("stage %s finished before; showing its report again", stage)
        shown = finished if main else _took_part(stage, place)
        write(paths, shown)
        return shown
    try:
        config = load_config(paths.run_config)
        with Progress(sender() if main else None) as progress:
            context = build(config, progress)
            with _together(stage, context, place) as group:
                report = _stage(stage)(replace(context, group=group))
                write(paths, report)
                with suppress(PeerLostError) if main else nullcontext():  # what is finished stays so
                    group.wait()
    except Exception as error:  # every failure becomes a report
        report = _failed(stage, error)
        write(paths, report)
    return report


def _together(stage: RunStage, context: Context, place: Place) -> AbstractContextManager[Group]:
    """Return the group of a process: alone, or met with the others."""
    if place.size == 1:
        return nullcontext(ALONE)
    from loraform_trainer.train.peers import distributed  # noqa: PLC0415 (imports torch)

    def lost(message: str) -> None:
        report = _failed(stage, PeerLostError(message))
        (stage_report.write if place.rank == 0 else stage_report.tell)(context.paths, report)
        _leave_at_once(report.exit_code)

    patience = distributed.Patience(context.peer_wait_seconds, context.peer_silence_seconds)
    return distributed.join(place, context.stop, patience, lost)


def _took_part(stage: RunStage, place: Place) -> StageReport:
    return StageReport(stage=stage, message=f"rank {place.rank} of {place.size}; the report is that of rank 0")


def _leave_at_once(code: ExitCode) -> None:
    """End the process without the interpreter's own end, which would wait for collectives that never return."""
    logging.shutdown()
    os._exit(code)


def load_config(path: Path) -> RunConfig:
    """Read the run config; raises InvalidConfigError naming the first wrong field."""
    try:
        return RunConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidConfigError(f"the run config {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidConfigError(f"the run config {path} is wrong at {place or 'its root'}: {first['msg']}") from error


def _stage(stage: RunStage) -> Callable[[Context], StageReport]:
    run: Callable[[Context], StageReport] = importlib.import_module(MODULES[stage]).run
    return run


def _failed(stage: RunStage, error: Exception) -> StageReport:
    code, message = classify(error)
    expected = isinstance(error, StageError)
    log.error("stage %s failed: %s", stage, message, exc_info=None if expected else error)
    resumed = error.resumed_from_step if isinstance(error, StageError) else None
    return StageReport(stage=stage, exit_code=code, message=message, resumed_from_step=resumed)


def _on_sigterm(stage: RunStage, stop: threading.Event) -> None:
    """Only training has something to save. As process 1 of a container we must handle the signal to end at all."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stage is not RunStage.TRAIN:
            sys.exit(TERMINATED)
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # held back by `supervise` until here


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
