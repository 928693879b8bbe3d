"""How an adapter is made: its shape, the optimisation, checkpoints."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from loraform_api.meta import ApiModel, DecimalString


class Method(StrEnum):
    """`LoRA` on the base as it is; `QLoRA` on the base in 4 bits (nf4), which is then measured and served in 4 bits."""

    LORA = "LoRA"
    QLORA = "QLoRA"


class Scaling(StrEnum):
    """`Standard` is alpha / rank; `RankStabilized` is alpha / sqrt(rank) (rsLoRA)."""

    STANDARD = "Standard"
    RANK_STABILIZED = "RankStabilized"


class Variant(StrEnum):
    """`Standard` is plain LoRA; `DoRA` also learns the length of each row of weights, and must be merged."""

    STANDARD = "Standard"
    DORA = "DoRA"


class Start(StrEnum):
    """`Fresh` begins with a new adapter; `Live` with the weights of the live version, which must have this shape."""

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
    """How alpha is divided. With `RankStabilized` the learning rate must be chosen anew."""
    variant: Variant = Variant.STANDARD
    """What is learnt beside the two matrices."""
    target_modules: ModuleNames = []
    """Names of the linear layers to adapt; empty means all linear layers except the output head."""
    modules_to_save: ModuleNames = []
    """Names of layers that are trained whole, such as `lm_head` or `norm`; they need `output.merge`."""
    start: Start = Start.FRESH
    """Where the weights begin."""


class EarlyStopping(ApiModel):
    """Ends training when the validation loss stops falling; the best checkpoint is taken."""

    patience: Annotated[int, Field(ge=1, le=100)] = 3
    """Evaluations without a better validation loss before training ends."""


class Recompute(StrEnum):
    """`Auto` recomputes activations in the backward pass only when the estimate says that they would not fit."""

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
    """Share of the steps used to warm up, in percent; a cosine decay follows."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rows per optimiser step, on average: rows are packed without padding, and a step takes whole packs."""
    max_sequence_length: Annotated[int, Field(ge=64, le=131072)] = 4096
    """Longest row in tokens, prompt and response together, and longest pack; longer rows are never cut."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 42
    """Seed of shuffling and initialisation."""
    early_stopping: EarlyStopping | None = None
    """Absent, all epochs are trained."""
    recompute: Recompute = Recompute.AUTO
    """Whether activations are recomputed to save memory, at a third more work."""
    compile: Compile = Compile.OFF
    """Whether the model is compiled by torch.compile: minutes at the start, faster steps on a GPU."""


class CheckpointSpec(ApiModel):
    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Optimiser steps between checkpoints; the validation loss is measured as often."""
    candidates: Annotated[int, Field(ge=1, le=3)] = 1
    """Latest checkpoints that are measured on the validation rows; the best of them is the candidate."""
