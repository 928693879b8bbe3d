"""The one table of failure classes: exit code, consequence, and what to do.

Status, metrics, the Jobs' pod failure policies, the trainer's exit codes and the table in docs/operations.md derive
from `FAILURES`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple


class FailureClass(StrEnum):
    """Class of a failure, as status and metrics show it."""

    DATASET_INVALID = "DatasetInvalid"
    ACCESS_DENIED = "AccessDenied"
    MISSING_REFERENCE = "MissingReference"
    INVALID_CONFIG = "InvalidConfig"
    BASE_MODEL_INVALID = "BaseModelInvalid"
    NON_FINITE_LOSS = "NonFiniteLoss"
    LOSS_SPIKE = "LossSpike"
    ADAPTER_NOT_SERVABLE = "AdapterNotServable"
    WORKSPACE_FULL = "WorkspaceFull"
    OUT_OF_MEMORY = "OutOfMemory"
    OUT_OF_GPU_MEMORY = "OutOfGPUMemory"
    SAVED_AND_STOPPED = "SavedAndStopped"
    PEER_LOST = "PeerLost"
    EVICTED = "Evicted"
    LOST_REPORT = "LostReport"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    IMAGE_PULL_ERROR = "ImagePullError"
    PODS_NOT_CREATED = "PodsNotCreated"
    VOLUME_NOT_BOUND = "VolumeNotBound"
    UNSCHEDULABLE = "Unschedulable"
    SIDECAR_CRASHING = "SidecarCrashing"
    TRAINER_ERROR = "TrainerError"


class ExitCode(IntEnum):
    """Exit codes of stage containers."""

    OK = 0
    DATASET_INVALID = 65
    MISSING_REFERENCE = 66
    TRAINER_ERROR = 70
    ACCESS_DENIED = 77
    INVALID_CONFIG = 78
    BASE_MODEL_INVALID = 79
    NON_FINITE_LOSS = 80
    ADAPTER_NOT_SERVABLE = 81
    WORKSPACE_FULL = 82
    OUT_OF_GPU_MEMORY = 83
    LOSS_SPIKE = 84
    SAVED_AND_STOPPED = 85
    PEER_LOST = 86

    @property
    def failure(self) -> FailureClass | None:
        """The failure class of this code; None for OK."""
        return next((row.name for row in FAILURES if row.exit_code is self), None)


class Consequence(StrEnum):
    """What the operator does after a failure, in the words of the documentation."""

    FAILS = "fails"
    """The run fails at once: a retry cannot help."""
    RETRIES = "retries"
    """Another pod tries again; the failure counts against `backoffLimit`."""
    CONTINUES = "goes on, uncounted"
    """Another pod continues; the failure does not count against `backoffLimit`."""
    RUNS_AGAIN = "is run again, three times"
    """The stage gets a new Job, without counting against `backoffLimit`."""
    WAITS = "waits"
    """Nothing has run yet; the run continues by itself once the cause is gone."""


class FailureRow(NamedTuple):
    """One failure class."""

    name: FailureClass
    exit_code: ExitCode | None
    """None where only the operator sees the failure."""
    consequence: Consequence
    hint: str
    """What to do, in one sentence."""
    meaning: str
    """What happened, for the documentation."""
    note: str = ""
    """More of what to do, for the documentation."""

    @property
    def permanent(self) -> bool:
        """A retry cannot help."""
        return self.consequence is Consequence.FAILS

    @property
    def counted(self) -> bool:
        """The failure counts against `backoffLimit`."""
        return self.consequence is Consequence.RETRIES


FAILURES = (
    FailureRow(
        FailureClass.DATASET_INVALID,
        ExitCode.DATASET_INVALID,
        Consequence.FAILS,
        "Correct the rows or the source that the message names in a new FineTuneJob.",
        "Too few rows remain, the checks dropped too many, a check that is set to `Fail` found something, or a digest"
        " differs.",
        "The message counts rows by check, with an example of each. `loraform dataset check` shows the same before a"
        " run.",
    ),
    FailureRow(
        FailureClass.ACCESS_DENIED,
        ExitCode.ACCESS_DENIED,
        Consequence.FAILS,
        "Check the Secret that `secretRef` names: its keys, and what they may read or write.",
        "A remote source or store refuses the credentials, or needs some.",
    ),
    FailureRow(
        FailureClass.MISSING_REFERENCE,
        ExitCode.MISSING_REFERENCE,
        Consequence.FAILS,
        "Create what the message names, or correct the reference in a new FineTuneJob.",
        "A ConfigMap, Secret, key, file, commit or URL does not exist. While it is the IaCModel of `modelRef` or a Flux"
        " source without an artifact, the run waits.",
    ),
    FailureRow(
        FailureClass.INVALID_CONFIG,
        ExitCode.INVALID_CONFIG,
        Consequence.FAILS,
        "Correct the field that the message names in a new FineTuneJob.",
        "Fields contradict the base model or each other, such as a layer that the base model lacks.",
    ),
    FailureRow(
        FailureClass.BASE_MODEL_INVALID,
        ExitCode.BASE_MODEL_INVALID,
        Consequence.FAILS,
        "Put config.json, tokenizer.json and *.safetensors at `baseModel.storageUri`.",
        "The folder lacks a file, holds pickles, or needs code of its own.",
    ),
    FailureRow(
        FailureClass.NON_FINITE_LOSS,
        ExitCode.NON_FINITE_LOSS,
        Consequence.FAILS,
        "Lower `training.learningRate`, or look for broken rows, in a new FineTuneJob.",
        "The loss or a gradient is not a number.",
    ),
    FailureRow(
        FailureClass.LOSS_SPIKE,
        ExitCode.LOSS_SPIKE,
        Consequence.FAILS,
        "Lower `training.learningRate` in a new FineTuneJob, or look at the rows of that step.",
        "The loss jumped and stayed up; the last good checkpoint is kept.",
    ),
    FailureRow(
        FailureClass.ADAPTER_NOT_SERVABLE,
        ExitCode.ADAPTER_NOT_SERVABLE,
        Consequence.FAILS,
        "The engine differs from the trainer: check the profile's image and dtype.",
        "The engine does not reproduce the trainer's probabilities, or serves the base instead of the adapter.",
    ),
    FailureRow(
        FailureClass.WORKSPACE_FULL,
        ExitCode.WORKSPACE_FULL,
        Consequence.FAILS,
        "Raise `workspace.size` in a new FineTuneJob.",
        "The run's volume is full.",
    ),
    FailureRow(
        FailureClass.OUT_OF_MEMORY,
        None,
        Consequence.RETRIES,
        "Raise `placement.resources.memory` or lower `training.maxSequenceLength`.",
        "A container was killed for memory: the stage's own, or engine or verifier beside the evaluator. The message"
        " names it.",
        "For the engine, the profile may also reserve less. No field changes the limits of the other containers: make"
        " rows or suites smaller.",
    ),
    FailureRow(
        FailureClass.OUT_OF_GPU_MEMORY,
        ExitCode.OUT_OF_GPU_MEMORY,
        Consequence.RETRIES,
        "Lower `training.maxSequenceLength`, set `training.recompute: Always`, or choose a larger GPU.",
        "The GPU is out of memory.",
        "`loraform estimate` predicts it.",
    ),
    FailureRow(
        FailureClass.SAVED_AND_STOPPED,
        ExitCode.SAVED_AND_STOPPED,
        Consequence.CONTINUES,
        "Nothing to do: the next pod resumes from the saved step.",
        "A pod received SIGTERM, and saved a checkpoint before it stopped.",
        "Twenty in a row without a further step fail the run.",
    ),
    FailureRow(
        FailureClass.PEER_LOST,
        ExitCode.PEER_LOST,
        Consequence.CONTINUES,
        "Nothing to do: the train pods meet again and resume from the saved step.",
        "Another train pod of the run no longer answers.",
        "Twenty in a row without a further step fail the run.",
    ),
    FailureRow(
        FailureClass.EVICTED,
        None,
        Consequence.CONTINUES,
        "The node ran short of a resource; the stage is retried.",
        "The node evicted the pod.",
    ),
    FailureRow(
        FailureClass.LOST_REPORT,
        None,
        Consequence.RUNS_AGAIN,
        "The stage ended without a readable report and is run again.",
        "A stage ended without a readable report.",
        "Check that trainer image and operator have one version.",
    ),
    FailureRow(
        FailureClass.DEADLINE_EXCEEDED,
        None,
        Consequence.FAILS,
        "Raise `activeDeadlineSeconds` or make the run smaller.",
        "`activeDeadlineSeconds` is over.",
    ),
    FailureRow(
        FailureClass.IMAGE_PULL_ERROR,
        None,
        Consequence.WAITS,
        "Check the profile's image and the nodes' access to its registry.",
        "An image cannot be pulled.",
    ),
    FailureRow(
        FailureClass.PODS_NOT_CREATED,
        None,
        Consequence.WAITS,
        "Look at the namespace's quota and admission policies.",
        "Quota or admission refuses the pod. The message quotes the API server.",
    ),
    FailureRow(
        FailureClass.VOLUME_NOT_BOUND,
        None,
        Consequence.WAITS,
        "Check that the claim exists and its StorageClass can provide a volume.",
        "A claim is missing or gets no volume.",
    ),
    FailureRow(
        FailureClass.UNSCHEDULABLE,
        None,
        Consequence.WAITS,
        "Lower `placement` requests, or add a node that fits them.",
        "No node has room.",
    ),
    FailureRow(
        FailureClass.SIDECAR_CRASHING,
        None,
        Consequence.WAITS,
        "Read the container's log, and check the profile.",
        "Engine or verifier beside the evaluator keep ending. The message has the last line of the container's log.",
        "The run fails when one has not started two hours after its pod.",
    ),
    FailureRow(
        FailureClass.TRAINER_ERROR,
        ExitCode.TRAINER_ERROR,
        Consequence.RETRIES,
        "Read the pod's log; if it repeats, report it with the message.",
        "Any other error of a stage. If its pod was evicted, or a container in it killed for memory, the run gives that"
        " as the reason and keeps the stage's text in the message.",
    ),
)

HINTS = {row.name: row.hint for row in FAILURES}

PERMANENT = tuple(row.exit_code for row in FAILURES if row.permanent and row.exit_code is not None)
"""Exit codes after which the run fails at once."""

UNCOUNTED = tuple(row.exit_code for row in FAILURES if not row.counted and not row.permanent and row.exit_code)
"""Exit codes of pods that saved their progress; they do not count against `backoffLimit`."""
