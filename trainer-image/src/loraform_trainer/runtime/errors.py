"""Errors of stages: each has the exit code that the operator reads and a one-line message."""

from __future__ import annotations

import errno
import re

from loraform_api.failures import ExitCode


class StageError(Exception):
    """A stage failed; the message names the field or file, the value and what is allowed."""

    code: ExitCode = ExitCode.TRAINER_ERROR
    resumed_from_step: int | None = None
    """Training step from which this process resumed; set by `train`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class TransientError(StageError):
    """An external service failed; another pod may succeed."""


class DatasetInvalidError(StageError):
    code = ExitCode.DATASET_INVALID


class MissingReferenceError(StageError):
    code = ExitCode.MISSING_REFERENCE


class InvalidConfigError(StageError):
    code = ExitCode.INVALID_CONFIG


class BaseModelInvalidError(StageError):
    code = ExitCode.BASE_MODEL_INVALID


class AccessDeniedError(StageError):
    code = ExitCode.ACCESS_DENIED


class NonFiniteLossError(StageError):
    code = ExitCode.NON_FINITE_LOSS


class LossSpikeError(StageError):
    code = ExitCode.LOSS_SPIKE


class AdapterNotServableError(StageError):
    code = ExitCode.ADAPTER_NOT_SERVABLE


class WorkspaceFullError(StageError):
    code = ExitCode.WORKSPACE_FULL


class OutOfGPUMemoryError(StageError):
    """The memory estimate exceeds the GPU; torch's own out-of-memory error has the same code."""

    code = ExitCode.OUT_OF_GPU_MEMORY


class PeerLostError(StageError):
    """Another rank of the run was lost; all ranks restart from the newest checkpoint."""

    code = ExitCode.PEER_LOST


class SavedAndStoppedError(StageError):
    """Not a failure: training was stopped, saved a checkpoint and continues in another pod."""

    code = ExitCode.SAVED_AND_STOPPED


_REDACTIONS = (
    (re.compile(r"(?i)(https?://)[^/@\s]+@"), r"\1"),
    (re.compile(r"(?i)(https?://[^\s?'\"]+)\?[^\s'\"]+"), r"\1?…"),
    (re.compile(r"(?i)\b(bearer|authorization:\s*basic)\s+\S+"), r"\1 …"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\b(?:hf_|gh[pousr]_|glpat-)[\w-]{16,}"), "…"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "…"),
)
"""Patterns and replacements for logs and reports. They match more than those of `prepare.dataset.secret_values`, which
decide whether a row is dropped: hiding too much of a log line costs nothing."""


def redact(text: str) -> str:
    """Return `text` without URL credentials, URL queries (which may be signed) and tokens."""
    for pattern, replacement in _REDACTIONS:
        text = pattern.sub(replacement, text)
    return text


def one_line(text: str, limit: int = 1000) -> str:
    """Return `text` redacted, on one line, cut to `limit` characters."""
    line = " ".join(redact(text).split())
    return line if len(line) <= limit else line[: limit - 2] + " …"


def _is_volume_full(error: BaseException) -> bool:
    """Whether a full volume caused `error`; torch and safetensors report that only in the message."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error) or "PytorchStreamWriter failed writing" in str(error)


def classify(error: BaseException) -> tuple[ExitCode, str]:
    """Return the exit code and the one-line message of a report for `error`."""
    if isinstance(error, StageError):
        return error.code, one_line(error.message)
    if _is_volume_full(error):
        return ExitCode.WORKSPACE_FULL, one_line(f"no space left on a volume: {error}")
    name = type(error).__name__
    if name == "OutOfMemoryError":  # torch's; by name, because most stages never import torch
        return ExitCode.OUT_OF_GPU_MEMORY, one_line(f"the GPU ran out of memory: {error}", 300)
    return ExitCode.TRAINER_ERROR, one_line(f"{name}: {error}")
