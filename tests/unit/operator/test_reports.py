from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraform_api.run import ExitCode
from loraform_operator.finetunejob.reports import MESSAGE_LIMIT, clean, failed_attempt, read_report


def pod(terminated: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    state = {"terminated": terminated} if terminated else {}
    return {
        "metadata": {
            "name": "p",
            "labels": {"loraform.dev/stage": "train"},
            "creationTimestamp": "2026-11-24T10:00:00Z",
        },
        "status": {"phase": "Failed", "containerStatuses": [{"name": "train", "state": state}], **status},
    }


DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}]


@pytest.mark.parametrize(
    ("failed", "reason"),
    [
        *((pod({"exitCode": int(c)}), str(c.failure)) for c in ExitCode if c.failure),
        (pod({"exitCode": 137, "reason": "OOMKilled"}), "OutOfMemory"),
        (pod({"exitCode": 137}), "TrainerError"),
        (pod({"exitCode": 1}), "TrainerError"),
        (pod(), "LostReport"),
        (pod(reason="Evicted", message="disk pressure"), "Evicted"),
        (pod({"exitCode": 143}, conditions=DISRUPTED), "Evicted"),
        (pod({"exitCode": 1, "message": json.dumps({"stage": "train", "exitCode": 80})}), "NonFiniteLoss"),
        (pod({"exitCode": 65, "message": json.dumps({"stage": "prepare", "exitCode": 80})}), "DatasetInvalid"),
    ],
)
def test_failure_class(failed: dict[str, Any], reason: str) -> None:
    attempt = failed_attempt(failed)
    assert attempt.reason == reason
    assert attempt.message
    assert attempt.hint


def test_a_sidecar_out_of_memory_is_named() -> None:
    engine = {"name": "engine", "state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled"}}}
    attempt = failed_attempt(pod({"exitCode": 1}, initContainerStatuses=[engine]))
    assert (attempt.reason, attempt.message) == ("OutOfMemory", "container engine exceeded its memory limit")


@pytest.mark.parametrize("message", ["", "{", "null", '{"stage": "train", "unknown": 1}', '{"stage": "publish"}'])
def test_unreadable_reports(message: str) -> None:
    assert read_report(pod({"exitCode": 0, "message": message})) is None


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("two\nlines\tand \x1b[31mcolour", "two lines and [31mcolour"),
        ("https://me:pass@host/x", "https://[redacted]host/x"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ("hf_abcdefghijklmnop used", "[redacted] used"),
        ("api_key='s3cret' end", "api_key='[redacted]' end"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        ("x" * 2000, "x" * (MESSAGE_LIMIT - 1) + "…"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_clean_is_always_one_short_printable_line(text: str) -> None:
    line = clean(text)
    assert line.isprintable()
    assert len(line) <= MESSAGE_LIMIT
