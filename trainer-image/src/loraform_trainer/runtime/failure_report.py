"""The report of a stage that failed."""

from __future__ import annotations

import logging

from loraform_api.names import RunStage
from loraform_api.run import StageReport
from loraform_trainer.runtime.errors import StageError, classify

log = logging.getLogger(__name__)


def failure_report(stage: RunStage, error: Exception) -> StageReport:
    """Log the error and return its report; an error that is not a StageError is logged with its traceback."""
    code, message = classify(error)
    is_stage_error = isinstance(error, StageError)
    log.error("stage %s failed: %s", stage, message, exc_info=None if is_stage_error else error)
    resumed_from_step = error.resumed_from_step if isinstance(error, StageError) else None
    return StageReport(stage=stage, exit_code=code, message=message, resumed_from_step=resumed_from_step)
