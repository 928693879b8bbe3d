"""The shape of a base model: its sizes by config.json, its weights by the headers of its *.safetensors. No torch."""

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
"""Values of `model_type` whose layers are known here: attention and a gated MLP, each behind an RMS norm."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
HEAD, EMBEDDING = "lm_head", "embed_tokens"
MLP = ("gate_proj", "up_proj", "down_proj")


class ShapeUnknownError(BaseModelInvalidError):
    """A base model about whose memory nothing can be said; training it may well work."""


@dataclass(frozen=True, slots=True)
class Shape:
    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    """The output head is the embedding."""
    qkv_bias: bool = False
    qk_norm: bool = False
    counted: int | None = None
    """Weights by the safetensors headers; None where only config.json is known."""

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear layer of a block."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        sizes = [(self.hidden, query), (self.hidden, key), (self.hidden, key), (query, self.hidden)]
        sizes += [(self.hidden, self.intermediate)] * 2 + [(self.intermediate, self.hidden)]
        return dict(zip((*ATTENTION, *MLP), sizes, strict=True))

    @property
    def block_weights(self) -> int:
        """Weights of all blocks' linear layers: what QLoRA holds in 4 bits."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears.values())

    @property
    def head_weights(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights, shared ones once: counted where they are there, else by the formula."""
        if self.counted is not None:
            return self.counted
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        embeddings = self.head_weights * (1 if self.tied else 2)
        return self.block_weights + self.layers * (norms + biases) + embeddings + self.hidden

    def trained_weights(self, lora: LoRASpec) -> int:
        """Weights of an adapter, and of the layers that are trained whole."""
        names = lora.target_modules or self.linears
        adapted = [size for name, size in self.linears.items() if name in names]
        lengths = 1 if lora.variant is Variant.DORA else 0  # of each row of weights
        per_block = sum(lora.rank * (inputs + outputs) + lengths * outputs for inputs, outputs in adapted)
        return self.layers * per_block + sum(self._weights_of(name) for name in lora.modules_to_save)

    def _weights_of(self, module: str) -> int:
        """Weights of all layers of a name, as far as it is known here."""
        if module in (HEAD, EMBEDDING):
            return self.head_weights
        width = self.head_dim if module in ("q_norm", "k_norm") else self.hidden
        inputs, outputs = self.linears.get(module, (1, width))
        return inputs * outputs * (1 if module == "norm" else self.layers)


def read(path: Path) -> Shape:
    """Read a base model's folder, or its config.json alone. Raises BaseModelInvalidError or ShapeUnknownError."""
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseModelInvalidError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise BaseModelInvalidError(f"{file} is not a JSON object")
    weights = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    shape = of_config(config)
    return of_config(config, sum(_weights(file, shape.tied) for file in weights)) if weights else shape


def of_config(config: Mapping[str, Any], counted: int | None = None) -> Shape:
    """Return the shape that a config.json describes; raises ShapeUnknownError for a family that is not known."""
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        raise ShapeUnknownError(f"model_type {family!r} is not one of {', '.join(sorted(FAMILIES))}")
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return Shape(
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
        raise BaseModelInvalidError(f"config.json of the base model: {error!r} is missing or no number") from error


def _weights(file: Path, tied: bool) -> int:
    """Return the number of weights in a safetensors file, from its header alone."""
    tensors = safetensors_header(file).items()
    try:
        return sum(prod(tensor["shape"]) for name, tensor in tensors if not (tied and name == "lm_head.weight"))
    except (KeyError, TypeError) as error:
        raise BaseModelInvalidError(f"{file.name} of the base model has a tensor without a shape: {error}") from error
