"""Parity: the trainer's log-probabilities pass, the base's fail."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from loraform_engine.parity import PROBES, ParityFile, ParityRow, compare, probes, read_logprob, requests

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
def test_nan_fails(value: float) -> None:
    assert not compare(file(), [[-0.1, value]]).passed


def test_an_adapter_that_changes_nothing_fails() -> None:
    same = ROW.model_copy(update={"base_logprobs": ROW.adapter_logprobs})
    unchanged = ParityFile(template_hash="0" * 64, dtype="float32", rows=[same])
    assert "changes nothing" in compare(unchanged, [[-0.1, -0.2]]).message


def test_each_probe_asks_for_one_token_after_the_text_before_it() -> None:
    first, second = requests(ROW, "adapter-x")
    assert (first["prompt"], first["logprob_token_ids"]) == ([1, 2], [3])
    assert (second["prompt"], second["logprob_token_ids"]) == ([1, 2, 3], [4])
    answer = {"choices": [{"logprobs": {"top_logprobs": [{"token_id:9": -0.1, "token_id:4": -2.5}]}}]}
    assert read_logprob(second, answer) == -2.5


def test_probes_are_where_adapter_and_base_differ_and_spread() -> None:
    base = [-1.0] * 100
    adapter = [*base[:90], -9.0, *base[91:]]
    row = ParityRow(prompt_ids=[1], response_ids=list(range(100)), adapter_logprobs=adapter, base_logprobs=base)
    assert {0, 25, 50, 75, 90} <= set(probes(row))
    assert len(probes(row)) <= PROBES


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{"logprobs": None}]}])
def test_an_answer_without_the_logprob_is_an_error(answer: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no log-probability"):
        read_logprob(requests(ROW, "x")[0], answer)


def test_log_probabilities_must_have_one_length() -> None:
    with pytest.raises(ValidationError, match="the same length"):
        ParityRow(prompt_ids=[1], response_ids=[2, 3], adapter_logprobs=[0.0], base_logprobs=[0.0, 0.0])
