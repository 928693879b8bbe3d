"""A stage's report: written for the kubelet (termination message) and for the next pod (marker in the workspace)."""

from __future__ import annotations

import logging

from pydantic import ValidationError

from loraform_api.failures import ExitCode
from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_trainer.runtime.files import write_atomic
from loraform_trainer.runtime.paths import Paths

log = logging.getLogger(__name__)


def read(paths: Paths, stage: RunStage) -> StageReport | None:
    """Return the stage's report when it finished with success before, else None."""
    try:
        report = StageReport.model_validate_json(paths.report(stage).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        log.warning("ignoring the unreadable report of stage %s: %s", stage, error)
        return None
    return report if report.exit_code is ExitCode.OK else None


def tell(paths: Paths, report: StageReport) -> None:
    """Leave the report for the kubelet alone."""
    try:
        paths.termination_log.write_text(report.encode(), encoding="ascii")  # a bind mount: it cannot be renamed over
    except OSError as error:
        log.warning("cannot write the termination message: %s", error)


def write(paths: Paths, report: StageReport) -> None:
    """Leave the report in both places. A failed stage's marker is best effort: its volume may be what failed."""
    tell(paths, report)
    try:
        write_atomic(paths.report(report.stage), report.encode())
    except OSError as error:
        if report.exit_code is ExitCode.OK:
            raise
        log.warning("cannot write the report into the workspace: %s", error)
