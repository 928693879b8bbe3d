"""Exit codes and messages of errors, and redaction."""

from __future__ import annotations

import errno

import pytest

from loraform_api.failures import ExitCode
from loraform_trainer.runtime import errors


class OutOfMemoryError(RuntimeError):
    """Stands for torch's class of this name, which a machine without a GPU never raises."""


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (errors.DatasetInvalidError("row 3 is empty"), ExitCode.DATASET_INVALID, "row 3 is empty"),
        (OSError(errno.ENOSPC, "No space", "/workspace/x"), ExitCode.WORKSPACE_FULL, "no space left on a volume"),
        (
            RuntimeError("[enforce fail at inline_container.cc:659] . PytorchStreamWriter failed writing file data/0"),
            ExitCode.WORKSPACE_FULL,
            "no space left",
        ),
        (
            RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
            ExitCode.WORKSPACE_FULL,
            "no space left",
        ),
        (OSError(errno.EACCES, "denied"), ExitCode.TRAINER_ERROR, "PermissionError"),
        (OutOfMemoryError("CUDA out of memory"), ExitCode.OUT_OF_GPU_MEMORY, "the GPU ran out of memory"),
        (KeyError("x"), ExitCode.TRAINER_ERROR, "KeyError: 'x'"),
        (errors.TransientError("no answer"), ExitCode.TRAINER_ERROR, "no answer"),
    ],
)
def test_errors_are_classified(error: Exception, code: ExitCode, part: str) -> None:
    exit_code, message = errors.classify(error)
    assert exit_code is code
    assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "https://user:s3cret@host/x",
        "https://host/x?X-Amz-Signature=s3cret&y=1",
        "Authorization: Bearer s3cret",
        "token eyJhbGciOi.s3cret.sig",
    ],
)
def test_secrets_are_redacted(text: str) -> None:
    redacted = errors.redact(f"before {text} after")
    assert "s3cret" not in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")


def test_one_line_limits_the_length() -> None:
    line = errors.one_line("a\n\tb " + "x" * 2000)
    assert line.startswith("a b x")
    assert len(line) == 1000
