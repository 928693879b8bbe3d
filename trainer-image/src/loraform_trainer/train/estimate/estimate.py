"""Estimates a run's GPU memory by part, its floating-point operations and its hours. Free of torch.

`loraform estimate` prints it. Memory is counted as the trainer uses it: a frozen base, a float32 adapter with gradients
and two moments, the activations saved for the backward pass of the longest pack, and one chunk of logits. The count of
a pack's activations was compared with the tensors that torch saves
(tests/integration/trainer/test_trainer_estimate.py).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from pathlib import Path

from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.run import RunConfig
from loraform_api.training import Method, Recompute, Variant
from loraform_trainer.runtime.errors import OutOfGPUMemoryError
from loraform_trainer.train.estimate.gpus import GIB, Gpu
from loraform_trainer.train.estimate.shape import HEAD, ModelShape, ShapeUnknownError, read

log = logging.getLogger(__name__)

BYTES = {"float32": 4, "bfloat16": 2}
ADAPTER_BYTES = 4
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in nf4: half a byte, a one-byte scale per 64 weights, and four bytes per 256 scales."""
LOGITS = 2**27
"""Logits in a chunk on a GPU; equal to `train.layers.loss.LOGITS_ON_GPU`."""
LOGIT_BYTES = 8
"""Bytes of a logit in the base's dtype, in float32, and as a gradient in the base's dtype."""
CUDA_BYTES = 1 << 30
"""Bytes that CUDA, cuBLAS and NCCL allocate: commonly about 0.5 GiB on one GPU, more with several. Not measured by us:
we had no GPU."""
FRAGMENTATION = 0.05
"""Memory that the caching allocator reserves but cannot use, relative to all tensors' bytes; a common value, not
measured by us."""
DORA_OUTPUTS = 2
"""Outputs of each layer that DoRA's backward pass needs: the base's and the adapter's."""
SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
REFUSAL_FACTOR = 1.5
"""A run is refused if the estimate exceeds this many times the GPU's memory; below, the estimate may be wrong."""
UTILISATION = (0.40, 0.55)
"""Range of the share of a GPU's peak that efficient trainers reach on dense models."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory on one GPU during a step, in bytes, by part."""

    base: int
    adapter: int
    gradients: int
    moments: int
    activations: int
    """Saved in the forward pass for the backward pass of the longest pack."""
    logits: int
    working: int
    """Temporary: gradients inside a block, and for QLoRA a layer's dequantised weights."""
    overhead: int
    """CUDA's context and the allocator's fragmentation."""

    @property
    def total(self) -> int:
        return sum(getattr(self, part.name) for part in fields(self))


def memory(shape: ModelShape, spec: FineTuneJobSpec, dtype: str, *, recompute: bool) -> Memory:
    """Return the memory of a training process with packs of `spec.training.maxSequenceLength` tokens."""
    size = BYTES[dtype]
    adapter = shape.trained_weights(spec.lora)
    tokens = spec.training.max_sequence_length
    layer = layer_activations(shape, spec, dtype)
    kept = shape.layers * shape.hidden * size + layer if recompute else shape.layers * layer
    several_processes = spec.placement.nodes * spec.placement.gpus > 1
    quantised = spec.method is Method.QLORA
    rows = min(LOGITS // shape.vocabulary, -(-tokens // 8))
    if HEAD in spec.lora.modules_to_save:
        rows = tokens  # the model computes all logits of responses at once; their number is unknown here
    tensors = {
        "base": _base(shape, size, quantised),
        "adapter": adapter * (ADAPTER_BYTES + (size if quantised else 0)),  # not fused: autocast copies them
        "gradients": adapter * ADAPTER_BYTES * (2 if several_processes else 1),  # all-reduced in a copy
        "moments": adapter * 2 * ADAPTER_BYTES,
        "activations": tokens * (kept + end_activations(shape, dtype)),
        "logits": max(1, rows) * shape.vocabulary * LOGIT_BYTES,
        "working": tokens * _widest(shape) * 3 * size + _dequantised(shape, spec, size),
    }
    return Memory(**tensors, overhead=CUDA_BYTES + int(FRAGMENTATION * sum(tensors.values())))


def layer_activations(shape: ModelShape, spec: FineTuneJobSpec, dtype: str) -> int:
    """Return the bytes per token that a block saves for its backward pass.

    An RMS norm saves its input and a float32 divisor; attention query, key, value, its output, and a float32 for each
    head; the gated MLP its two halves. Adapted layers save their input, once for all layers with the same input, and
    each its product with the adapter's first matrix (train.layers.blocks and train.layers.lora).
    """
    size = BYTES[dtype]
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = 2 * (size * shape.hidden + 4)
    if shape.qk_norm:
        norms += size * (query + key) + 4 * (shape.heads + shape.kv_heads)
    attention = size * (2 * query + 2 * key) + 4 * shape.heads
    mlp = size * 2 * shape.intermediate
    modules = set(spec.lora.target_modules or shape.linears)
    inner = size * spec.lora.rank * len(modules & set(shape.linears))
    if spec.lora.variant is Variant.DORA:
        inner += size * DORA_OUTPUTS * sum(shape.linears[name][1] for name in modules & set(shape.linears))
    inputs = size * sum(shape.linears[sharing[0]][0] for sharing in SAME_INPUT if modules & set(sharing))
    return norms + attention + mlp + inner + inputs


def end_activations(shape: ModelShape, dtype: str) -> int:
    """Return the bytes per token saved after the last block: the norm's input, and the gradient from the loss."""
    return 4 * shape.hidden + BYTES[dtype] * shape.hidden


def _base(shape: ModelShape, size: int, quantised: bool) -> int:
    if not quantised:
        return shape.parameters * size
    return int(shape.block_weights * NF4_BYTES) + (shape.parameters - shape.block_weights) * size


def _dequantised(shape: ModelShape, spec: FineTuneJobSpec, size: int) -> int:
    """Return the bytes of the largest layer: dequantised by QLoRA, and copied twice by DoRA for its row norms."""
    largest = max(inputs * outputs for inputs, outputs in shape.linears.values())
    quantised, dora = spec.method is Method.QLORA, spec.lora.variant is Variant.DORA
    return largest * ((size if quantised else 0) + (2 * ADAPTER_BYTES if dora else 0))


def _widest(shape: ModelShape) -> int:
    return max(width for size in shape.linears.values() for width in size)


@dataclass(frozen=True, slots=True)
class MemoryFit:
    """A run's memory with activations kept and recomputed, beside the available bytes."""

    available: int
    plain: Memory
    recomputed: Memory
    mode: Recompute
    """`spec.training.recompute`."""

    @property
    def recompute(self) -> bool:
        """True if the run recomputes activations."""
        if self.mode is Recompute.AUTO:
            return self.plain.total > self.available
        return self.mode is Recompute.ALWAYS

    @property
    def need(self) -> Memory:
        """The memory that the run will use."""
        return self.recomputed if self.recompute else self.plain

    @property
    def fits(self) -> bool:
        return self.need.total <= self.available


def assess(shape: ModelShape, spec: FineTuneJobSpec, dtype: str, available: int) -> MemoryFit:
    """Estimate a run's memory in both modes, to compare with `available` bytes."""
    plain, recomputed = (memory(shape, spec, dtype, recompute=r) for r in (False, True))
    return MemoryFit(available, plain, recomputed, spec.training.recompute)


def decide_recompute(config: RunConfig, base: Path, available: int | None) -> bool:
    """Return whether the run recomputes activations, and log why.

    `available` is the GPU's memory in bytes. Without a GPU it is None, and only `Always` recomputes. For a base of an
    unknown family, activations are recomputed unless the spec says `Never`. Raises OutOfGPUMemoryError if the estimate
    exceeds `REFUSAL_FACTOR` times the memory.
    """
    mode, dtype = config.spec.training.recompute, config.engine_dtype
    if available is None:
        return mode is Recompute.ALWAYS
    try:
        fit = assess(read(base), config.spec, dtype, available)
    except ShapeUnknownError as error:
        log.warning("memory cannot be estimated: %s", error)
        return mode is not Recompute.NEVER
    need = fit.need.total
    activations = "recomputed" if fit.recompute else "kept"
    log.info("activations are %s: the run needs about %.1f of %.1f GiB", activations, need / GIB, available / GIB)
    if need > REFUSAL_FACTOR * available:
        raise OutOfGPUMemoryError(
            f"the run needs about {need / GIB:.0f} GiB on each GPU, which has {available / GIB:.0f} GiB; "
            f"{'; '.join(advice(config.spec, fit)[:3])}"
        )
    return fit.recompute


def advice(spec: FineTuneJobSpec, fit: MemoryFit) -> list[str]:
    """Return the changes that reduce the memory of a run that does not fit, the cheapest first."""
    changes = []
    if not fit.recompute and fit.recomputed.total <= fit.available:
        changes.append("set `spec.training.recompute` to 'Auto' or 'Always'")
    fixed = fit.recomputed.total - fit.recomputed.activations - fit.recomputed.working
    tokens = spec.training.max_sequence_length
    per_token = (fit.recomputed.total - fixed) / tokens
    longest = int((fit.available - fixed) / per_token) // 64 * 64
    if 64 <= longest < tokens:
        changes.append(f"lower `spec.training.maxSequenceLength` from {tokens} to {longest}, with recompute")
    if spec.method is Method.LORA:
        changes.append("set `spec.method` to 'QLoRA' if the profile's engine supports nf4")
    return [*changes, "choose a GPU with more memory"]


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Token counts of the training rows, from which operations are estimated."""

    tokens: int
    labels: int
    """Label tokens (those of responses), the only ones at which the head is applied."""
    squares: int
    """Sum of the rows' squared lengths."""

    @classmethod
    def of_equal_rows(cls, rows: int, mean_tokens: int) -> RowCounts:
        """Return the counts of rows of equal length; every token counts as a label, as the prompts are unknown."""
        return cls(rows * mean_tokens, rows * mean_tokens, rows * mean_tokens**2)


def operations(shape: ModelShape, spec: FineTuneJobSpec, rows: RowCounts, *, recompute: bool) -> float:
    """Return the floating-point operations of all epochs.

    Per token, a frozen weight costs two in the forward pass and two for the input's gradient, an adapter's weight two
    more; recomputing adds a forward pass. Causal attention costs half of the full square; its backward pass costs twice
    the forward pass.
    """
    adapter = shape.trained_weights(spec.lora)
    width = shape.layers * shape.heads * shape.head_dim
    forward = 2 * (shape.block_weights + adapter) * rows.tokens + 2 * width * rows.squares
    backward = 2 * (shape.block_weights + 2 * adapter) * rows.tokens + 4 * width * rows.squares
    head = 4 * shape.head_weights * rows.labels
    return float(spec.training.epochs * (forward * (2 if recompute else 1) + backward + head))


def hours(work: float, gpu: Gpu, gpus: int) -> tuple[float, float]:
    """Return the minimum and maximum hours of `gpus` GPUs for `work` floating-point operations."""
    slow, fast = (work / (gpu.peak * gpus * share) / 3600 for share in UTILISATION)
    return fast, slow
