"""References to objects, and errors of the API server."""

from __future__ import annotations

import pytest

from loraform_api.names import Kind
from loraform_cli.cluster import ClusterError, Unreachable, parse_reference, refusal


@pytest.mark.parametrize(
    "text", ["finetunejob/lora", "finetunejobs/lora", "ftj/lora", "FineTuneJob/lora", "finetunejobs.loraform.dev/lora"]
)
def test_every_spelling_of_kubectl_is_accepted(text: str) -> None:
    assert parse_reference(text) == (Kind.FINE_TUNE_JOB, "lora")


@pytest.mark.parametrize("text", ["lora", "pod/lora", "iacmodel/", ""])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="neither 'finetunejob/NAME' nor 'iacmodel/NAME'"):
        parse_reference(text)


@pytest.mark.parametrize(("status", "word"), [(404, "does not exist"), (403, "may not read"), (401, "may not read")])
def test_an_error_that_lasts_says_what_to_do(status: int, word: str) -> None:
    error = refusal(status, Kind.IAC_MODEL, "demo", "picloud")
    assert isinstance(error, ClusterError)
    assert word in str(error)
    assert "iacmodel 'picloud' in namespace 'demo'" in str(error)


@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_other_statuses_are_retried(status: int | None) -> None:
    assert isinstance(refusal(status, Kind.IAC_MODEL, "demo", "picloud"), Unreachable)
