"""Reads a base model's dimensions from config.json and its number of weights from safetensors headers. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from loraform_api.training import LoRASpec, Variant
from loraform_trainer.runtime.errors import BaseModelInvalidError
from loraform_trainer.runtime.model_files import safetensors_header

FAMILIES = frozenset({"granite", "llama", "mistral", "qwen2", "qwen3"})
"""Supported values of `model_type`: blocks of attention and a gated MLP, each after an RMS norm."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
HEAD, EMBEDDING = "lm_head", "embed_tokens"
MLP = ("gate_proj", "up_proj", "down_proj")


class ShapeUnknownError(BaseModelInvalidError):
    """A base model of an unknown family: its memory cannot be estimated, but it may be trainable."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    """True if the output head shares the embedding's weights."""
    qkv_bias: bool = False
    qk_norm: bool = False
    counted: int | None = None
    """Number of weights by the safetensors headers; None if only config.json was read."""

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Number of inputs and outputs of each linear layer of a block."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        sizes = [(self.hidden, query), (self.hidden, key), (self.hidden, key), (query, self.hidden)]
        sizes += [(self.hidden, self.intermediate)] * 2 + [(self.intermediate, self.hidden)]
        return dict(zip((*ATTENTION, *MLP), sizes, strict=True))

    @property
    def block_weights(self) -> int:
        """Number of weights in all blocks' linear layers, which QLoRA quantises to 4 bits."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears.values())

    @property
    def head_weights(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Number of all weights, shared ones once: as counted, or else computed from the dimensions."""
        if self.counted is not None:
            return self.counted
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        embeddings = self.head_weights * (1 if self.tied else 2)
        return self.block_weights + self.layers * (norms + biases) + embeddings + self.hidden

    def trained_weights(self, lora: LoRASpec) -> int:
        """Return the number of weights in the adapter and in the fully trained layers."""
        names = lora.target_modules or self.linears
        adapted = [size for name, size in self.linears.items() if name in names]
        magnitudes = 1 if lora.variant is Variant.DORA else 0  # one for each row of a weight matrix
        per_block = sum(lora.rank * (inputs + outputs) + magnitudes * outputs for inputs, outputs in adapted)
        return self.layers * per_block + sum(self._weights_of(name) for name in lora.modules_to_save)

    def _weights_of(self, module: str) -> int:
        """Return the number of weights in all layers of a name."""
        if module in (HEAD, EMBEDDING):
            return self.head_weights
        width = self.head_dim if module in ("q_norm", "k_norm") else self.hidden
        inputs, outputs = self.linears.get(module, (1, width))
        return inputs * outputs * (1 if module == "norm" else self.layers)


def read(path: Path) -> ModelShape:
    """Read a base model's folder, or only its config.json; raises BaseModelInvalidError or ShapeUnknownError."""
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelInvalidError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise BaseModelInvalidError(f"{file} is not a JSON object")
    weights = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    shape = of_config(config)
    return of_config(config, sum(_count_weights(file, shape.tied) for file in weights)) if weights else shape


def of_config(config: Mapping[str, Any], counted: int | None = None) -> ModelShape:
    """Return the shape that a config.json describes; raises ShapeUnknownError for an unknown family."""
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise ShapeUnknownError(f"model_type {family!r} is not one of {', '.join(sorted(FAMILIES))}")
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return ModelShape(
            family=family,
            hidden=hidden,
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            intermediate=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2" or bool(config.get("attention_bias", False)),
            qk_norm=family == "qwen3",
            counted=counted,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BaseModelInvalidError(f"config.json of the base model: {error!r} is missing or not a number") from error


def _count_weights(file: Path, tied: bool) -> int:
    """Return the number of weights in a safetensors file by its header."""
    tensors = safetensors_header(file).items()
    try:
        return sum(prod(tensor["shape"]) for name, tensor in tensors if not (tied and name == "lm_head.weight"))
    except (KeyError, TypeError) as error:
        raise BaseModelInvalidError(f"{file.name} of the base model has a tensor without a shape: {error}") from error
