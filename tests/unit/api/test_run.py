import json

import pytest

from loraform_api.failures import ExitCode
from loraform_api.names import TERMINATION_LIMIT, RunStage
from loraform_api.run import PrepareResult, StageReport


def test_a_report_survives_its_encoding() -> None:
    report = StageReport(stage=RunStage.PREPARE, message="täglich", exit_code=ExitCode.DATASET_INVALID)
    assert StageReport.model_validate(json.loads(report.encode())) == report


def test_a_long_message_is_cut_to_the_limit() -> None:
    report = StageReport(stage=RunStage.TRAIN, message="ä" * 1000)
    assert len(report.encode().encode()) <= TERMINATION_LIMIT


def test_a_report_that_cannot_fit_is_refused() -> None:
    rows = {f"filter-{i}": i for i in range(500)}
    digest = "a" * 64
    result = PrepareResult(dataset_digest=digest, rows=rows, base_digest=digest, template_hash=digest, suite_rows=1)
    with pytest.raises(ValueError, match="3500"):
        StageReport(stage=RunStage.PREPARE, prepare=result).encode()
