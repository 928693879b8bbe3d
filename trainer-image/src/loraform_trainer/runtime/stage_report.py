"""Reads and writes stage reports: as the container's termination message, and as a file in the workspace."""

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
    """Return the report of a stage that succeeded before; None when it is absent, failed or unreadable.

    Raises OSError when the file exists but cannot be read.
    """
    try:
        report = StageReport.model_validate_json(paths.report(stage).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        log.warning("ignoring the unreadable report of stage %s: %s", stage, error)
        return None
    return report if report.exit_code is ExitCode.OK else None


def write_termination_message(paths: Paths, report: StageReport) -> None:
    """Write the report only as the termination message; an OSError is logged, not raised."""
    try:
        paths.termination_log.write_text(report.encode(), encoding="ascii")  # a bind mount: it cannot be renamed over
    except OSError as error:
        log.warning("cannot write the termination message: %s", error)


def write(paths: Paths, report: StageReport) -> None:
    """Write the report as the termination message and into the workspace.

    Raises OSError when the report of a successful stage cannot be written into the workspace. For a failed stage the
    error is only logged, because a full volume may be why it failed.
    """
    write_termination_message(paths, report)
    try:
        write_atomic(paths.report(report.stage), report.encode())
    except OSError as error:
        if report.exit_code is ExitCode.OK:
            raise
        log.warning("cannot write the report of the failed stage into the workspace: %s", error)
