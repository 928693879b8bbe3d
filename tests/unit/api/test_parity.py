"""Parity: same numbers as the trainer, other numbers than the base."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from loraform_api.parity import ParityFile, ParityRow, compare, read_logprobs, request_body

ROW = ParityRow(prompt_ids=[1, 2], response_ids=[3, 4], adapter_logprobs=[-0.1, -0.2], base_logprobs=[-3.0, -2.0])


def file(dtype: str = "float32") -> ParityFile:
    return ParityFile(template_hash="0" * 64, dtype=dtype, rows=[ROW])


def test_the_trained_adapter_passes() -> None:
    result = compare(file(), [[-0.1001, -0.2]])
    assert result.passed
    assert result.max_difference == pytest.approx(0.0001)


def test_an_engine_that_serves_the_base_fails() -> None:
    result = compare(file(), [[-3.0, -2.0]])
    assert not result.passed
    assert "answers as the base model" in result.message


def test_another_adapter_fails() -> None:
    result = compare(file(), [[-1.0, -1.0]])
    assert not result.passed
    assert "does not reproduce the trained adapter" in result.message


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_broken_numbers_fail(value: float) -> None:
    assert not compare(file(), [[-0.1, value]]).passed


def test_an_adapter_that_changes_nothing_fails() -> None:
    same = ROW.model_copy(update={"base_logprobs": ROW.adapter_logprobs})
    unchanged = ParityFile(template_hash="0" * 64, dtype="float32", rows=[same])
    assert "changes nothing" in compare(unchanged, [[-0.1, -0.2]]).message


def test_logprobs_are_read_from_vllms_answer() -> None:
    entries = [None, {"2": {"logprob": -9.0}}, {"3": {"logprob": -0.5}}, {"4": {"logprob": -0.25}, "7": {"logprob": 0}}]
    assert read_logprobs(ROW, {"choices": [{"prompt_logprobs": entries}]}) == [-0.5, -0.25]
    assert request_body(ROW, "adapter-x")["prompt"] == [1, 2, 3, 4]


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"prompt_logprobs": None}]}])
def test_an_answer_without_logprobs_is_an_error(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no log-probabilities"):
        read_logprobs(ROW, body)


def test_rows_must_be_of_one_length() -> None:
    with pytest.raises(ValidationError, match="one length"):
        ParityRow(prompt_ids=[1], response_ids=[2, 3], adapter_logprobs=[0.0], base_logprobs=[0.0, 0.0])
