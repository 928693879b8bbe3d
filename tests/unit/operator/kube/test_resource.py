from __future__ import annotations

from datetime import UTC, datetime

import pytest

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import FineTuneJobStatus
from loraform_api.meta import ConditionStatus
from loraform_operator.kube.errors import InvalidSpec
from loraform_operator.kube.resource import MESSAGE_LIMIT, conditions_of, invalid_status, read_resource, read_status

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_an_invalid_spec_is_reported_with_its_field() -> None:
    with pytest.raises(InvalidSpec, match=r"^metadata: Field required$"):
        read_resource(FineTuneJob, {})


def test_an_unreadable_status_counts_as_empty() -> None:
    assert read_status(FineTuneJobStatus, {"status": {"conditions": "none"}}) == FineTuneJobStatus()


def test_the_message_of_a_condition_is_cut_at_the_limit_of_the_api() -> None:
    (condition,) = conditions_of([("Ready", ConditionStatus.FALSE, "Refused", "x" * 5000)], 1, NOW)
    assert len(condition.message) == MESSAGE_LIMIT


def test_an_invalid_object_is_not_ready_and_stalled() -> None:
    others = conditions_of([("Succeeded", ConditionStatus.UNKNOWN, "InvalidSpec", "")], 3, NOW)
    status = invalid_status(FineTuneJobStatus(), 3, "spec.lora.rank: wrong", others, NOW)
    assert status.observed_generation == 3
    assert [(c.type, c.status) for c in status.conditions] == [
        ("Ready", "False"),
        ("Succeeded", "Unknown"),
        ("Stalled", "True"),
    ]
