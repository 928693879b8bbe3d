"""`python -m loraform_trainer <stage>`: runs one stage and leaves its report."""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType

from pydantic import ValidationError
from typing_extensions import override

from loraform_api.names import RunStage
from loraform_api.run import RunConfig, StageReport
from loraform_trainer import reports
from loraform_trainer.context import Context
from loraform_trainer.errors import InvalidConfigError, StageError, classify, redact
from loraform_trainer.paths import Paths
from loraform_trainer.progress import Progress, sender

log = logging.getLogger("loraform_trainer")

SETTINGS: dict[str, tuple[type, str]] = {
    "mount_wait_seconds": (float, "how long a mounted file may be late"),
    "sidecar_wait_seconds": (float, "how long engine and verifier may take to answer"),
    "engine_url": (str, "the engine beside this stage"),
    "verifier_url": (str, "the verifier beside this stage"),
}
"""Fields of `Context` that the command line sets."""

TERMINATED = 128 + signal.SIGTERM


class _RedactedFormatter(logging.Formatter):
    @override
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stage that the command line names; return its exit code."""
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactedFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    paths = Paths(**{f.name: getattr(options, f.name) for f in fields(Paths)})
    settings = {name: getattr(options, name) for name in SETTINGS}
    stage = RunStage(options.stage)
    stop = threading.Event()
    _on_sigterm(stage, stop)
    report = execute(stage, paths, lambda config, progress: Context(config, paths, progress, stop, **settings))
    log.info("%s: exit code %d: %s", stage, report.exit_code, report.message)
    return int(report.exit_code)


def execute(stage: RunStage, paths: Paths, build: Callable[[RunConfig, Progress], Context]) -> StageReport:
    """Run a stage and write its report; a stage that finished before only shows its report again."""
    finished = reports.read(paths, stage)
    if finished is not None:
        log.info("stage %s finished before; showing its report again", stage)
        reports.write(paths, finished)
        return finished
    try:
        config = load_config(paths.run_config)
        with Progress(sender()) as progress:
            report = _stage(stage)(build(config, progress))
        reports.write(paths, report)
    except Exception as error:  # every failure becomes a report
        report = _failed(stage, error)
        reports.write(paths, report)
    return report


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
    """Import a stage only when it runs: torch takes seconds, and not every stage needs it."""
    run: Callable[[Context], StageReport] = importlib.import_module(f"loraform_trainer.{stage}").run
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
