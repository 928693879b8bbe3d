"""Training of an adapter: LoRA settings, training parameters, checkpoints."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from loraform_api.meta import ApiModel, DecimalString


class Method(StrEnum):
    """`LoRA` uses the base as it is; `QLoRA` the base in 4 bits (nf4), which is also evaluated and served in 4 bits."""

    LORA = "LoRA"
    QLORA = "QLoRA"


NumberType = Literal["float32", "bfloat16"]
"""Number type of an engine, and of the base model in training."""


class Scaling(StrEnum):
    """`Standard` is alpha / rank; `RankStabilized` is alpha / sqrt(rank) (rsLoRA)."""

    STANDARD = "Standard"
    RANK_STABILIZED = "RankStabilized"


class Variant(StrEnum):
    """`Standard` is plain LoRA; `DoRA` also learns the magnitude of each row of weights, and must be merged."""

    STANDARD = "Standard"
    DORA = "DoRA"


class Start(StrEnum):
    """`Fresh` starts from a new adapter; `Live` from that of the live version, which must have the same shape."""

    FRESH = "Fresh"
    LIVE = "Live"


ModuleNames = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_]+$")]],
    Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"}),
]


class LoRASpec(ApiModel):
    rank: Annotated[int, Field(ge=1, le=512)] = 32
    """Rank of the adapter's matrices."""
    alpha: Annotated[int, Field(ge=1, le=1024)] = 32
    """Scaling numerator: the adapter is scaled by alpha / rank."""
    scaling: Scaling = Scaling.STANDARD
    """How alpha is divided. `RankStabilized` needs another learning rate."""
    variant: Variant = Variant.STANDARD
    """Parameters that are learnt besides the two matrices."""
    target_modules: ModuleNames = []
    """Names of the linear layers to adapt; empty means all linear layers except the output head."""
    modules_to_save: ModuleNames = []
    """Names of layers that are trained in full, such as `lm_head` or `norm`; needs `output.merge`."""
    start: Start = Start.FRESH
    """Initial weights of the adapter."""


class EarlyStopping(ApiModel):
    """Ends training when the validation loss stops falling; the best checkpoint is used."""

    patience: Annotated[int, Field(ge=1, le=100)] = 3
    """Evaluations without a better validation loss before training ends."""


class Recompute(StrEnum):
    """`Auto` recomputes activations in the backward pass only if the estimate says that they do not fit in memory."""

    AUTO = "Auto"
    ALWAYS = "Always"
    NEVER = "Never"


class Compile(StrEnum):
    ON = "On"
    OFF = "Off"


class TrainingSpec(ApiModel):
    epochs: Annotated[int, Field(ge=1, le=100)] = 2
    """Passes over the training rows."""
    learning_rate: DecimalString = "2e-4"
    """Peak learning rate as text, for example `2e-4`."""
    warmup_percent: Annotated[int, Field(ge=0, le=50)] = 3
    """Share of the steps used for warm-up, in percent; a cosine decay follows."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Mean rows per optimiser step: rows are packed without padding, and a step uses whole packs."""
    max_sequence_length: Annotated[int, Field(ge=64, le=131072)] = 4096
    """Most tokens of a row, prompt and response together, and of a pack; longer rows are never truncated."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42
    """Seed of shuffling and initialisation."""
    early_stopping: EarlyStopping | None = None
    """Early stopping; absent: all epochs are trained."""
    recompute: Recompute = Recompute.AUTO
    """Whether activations are recomputed, which saves memory and costs a third more computation."""
    compile: Compile = Compile.OFF
    """Whether torch.compile compiles the model: minutes at the start, faster steps on a GPU."""


class CheckpointSpec(ApiModel):
    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Optimiser steps between checkpoints, and between measurements of the validation loss."""
    candidates: Annotated[int, Field(ge=1, le=3)] = 1
    """Number of latest checkpoints to evaluate on the validation rows; the best is the candidate."""
