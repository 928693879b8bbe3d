"""What a run will need: bytes of memory by part, operations and hours. Free of torch; `loraform estimate` shows it.

Memory is counted as the trainer holds it: a frozen base, a float32 adapter with its gradients and two moments, what
the backward pass of the longest pack must find again, a piece of logits. What is counted of a pack was compared with
the tensors that torch saves (tests/integration/trainer/test_trainer_estimate.py).
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
from loraform_trainer.train.estimate.shape import HEAD, Shape, ShapeUnknownError, read

log = logging.getLogger(__name__)

BYTES = {"float32": 4, "bfloat16": 2}
ADAPTER_BYTES = 4
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""A weight in nf4: half a byte, a byte of scale for 64 weights, and four bytes for 256 scales."""
LOGITS = 2**27
"""Logits that exist at a time on a GPU; `training.loss.LOGITS_ON_GPU`."""
LOGIT_BYTES = 8
"""A logit in the base's type, in float32, and as a gradient in the base's type."""
CONTEXT = 1 << 30
"""Bytes that CUDA, cuBLAS and NCCL take before a tensor exists: commonly about 0.5 GiB on one GPU, more with several.
Not measured by us: no GPU was at hand."""
FRAGMENTS = 0.05
"""Share of all tensors' bytes that the caching allocator holds without using it; a usual value, not measured by us."""
DORA_OUTPUTS = 2
"""Outputs of each layer that DoRA's backward pass needs again: the base's and the adapter's."""
SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
HOPELESS = 1.5
"""How many times the memory an estimate must exceed before a run is refused: it may be wrong, a refusal must not be."""
UTILISATION = (0.40, 0.55)
"""Share of a GPU's peak that well-made trainers reach on dense models."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one GPU at the worst moment of a step."""

    base: int
    adapter: int
    gradients: int
    moments: int
    activations: int
    """Kept from the forward pass for the backward pass of the longest pack."""
    logits: int
    working: int
    """Short-lived: gradients inside a block, and for QLoRA a layer's weights unpacked."""
    overhead: int
    """CUDA's context and the allocator's fragments."""

    @property
    def total(self) -> int:
        return sum(getattr(self, part.name) for part in fields(self))


def memory(shape: Shape, spec: FineTuneJobSpec, dtype: str, *, recompute: bool) -> Memory:
    """Return what a process on a GPU needs for packs of `spec.training.maxSequenceLength` tokens."""
    size = BYTES[dtype]
    adapter = shape.trained_weights(spec.lora)
    tokens = spec.training.max_sequence_length
    layer = layer_activations(shape, spec, dtype)
    kept = shape.layers * shape.hidden * size + layer if recompute else shape.layers * layer
    shared = spec.placement.nodes * spec.placement.gpus > 1
    quantised = spec.method is Method.QLORA
    rows = min(LOGITS // shape.vocabulary, -(-tokens // 8))
    if HEAD in spec.lora.modules_to_save:
        rows = tokens  # the model's own logits, at responses alone: of how many tokens is not known here
    tensors = {
        "base": _base(shape, size, quantised),
        "adapter": adapter * (ADAPTER_BYTES + (size if quantised else 0)),  # peft's own layers: autocast keeps a copy
        "gradients": adapter * ADAPTER_BYTES * (2 if shared else 1),  # the sum over processes is taken in a copy
        "moments": adapter * 2 * ADAPTER_BYTES,
        "activations": tokens * (kept + end_activations(shape, dtype)),
        "logits": max(1, rows) * shape.vocabulary * LOGIT_BYTES,
        "working": tokens * _widest(shape) * 3 * size + _unpacked(shape, spec, size),
    }
    return Memory(**tensors, overhead=CONTEXT + int(FRAGMENTS * sum(tensors.values())))


def layer_activations(shape: Shape, spec: FineTuneJobSpec, dtype: str) -> int:
    """Return the bytes a token leaves in a block for its backward pass.

    An RMS norm keeps its input, and the float32 by which it divides. Attention keeps query, key, value, its output, and
    a sum for each head; the gated MLP keeps its two halves. Adapted layers keep their input, which those with the same
    input share, and each its product with the adapter's first matrix (`layers` and `lora` see to that).
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


def end_activations(shape: Shape, dtype: str) -> int:
    """Return the bytes a token leaves behind the last block: the norm's input, and the gradient from the loss."""
    return 4 * shape.hidden + BYTES[dtype] * shape.hidden


def _base(shape: Shape, size: int, quantised: bool) -> int:
    if not quantised:
        return shape.parameters * size
    return int(shape.block_weights * NF4_BYTES) + (shape.parameters - shape.block_weights) * size


def _unpacked(shape: Shape, spec: FineTuneJobSpec, size: int) -> int:
    """Return the bytes of a layer that QLoRA unpacks, and of two more by which DoRA knows the length of its rows."""
    largest = max(inputs * outputs for inputs, outputs in shape.linears.values())
    quantised, dora = spec.method is Method.QLORA, spec.lora.variant is Variant.DORA
    return largest * ((size if quantised else 0) + (2 * ADAPTER_BYTES if dora else 0))


def _widest(shape: Shape) -> int:
    return max(width for size in shape.linears.values() for width in size)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run fits into `available` bytes, and how."""

    available: int
    plain: Memory
    recomputed: Memory
    wish: Recompute

    @property
    def recompute(self) -> bool:
        """Activations will be recomputed."""
        if self.wish is Recompute.AUTO:
            return self.plain.total > self.available
        return self.wish is Recompute.ALWAYS

    @property
    def need(self) -> Memory:
        """Memory as the run will use it."""
        return self.recomputed if self.recompute else self.plain

    @property
    def fits(self) -> bool:
        return self.need.total <= self.available


def judge(shape: Shape, spec: FineTuneJobSpec, dtype: str, available: int) -> Verdict:
    """Return whether the run fits."""
    plain, recomputed = (memory(shape, spec, dtype, recompute=r) for r in (False, True))
    return Verdict(available, plain, recomputed, spec.training.recompute)


def decide_recompute(config: RunConfig, base: Path, available: int | None) -> bool:
    """Say whether the run recomputes activations; log why.

    `available` is the GPU's memory in bytes, None without one: then only `Always` recomputes. A base of a family whose
    shape is not known is recomputed unless the spec says `Never`. Raises OutOfGPUMemoryError for a run that is far from
    fitting, never for one that might.
    """
    wish, dtype = config.spec.training.recompute, config.engine_dtype
    if available is None:
        return wish is Recompute.ALWAYS
    try:
        verdict = judge(read(base), config.spec, dtype, available)
    except ShapeUnknownError as error:
        log.warning("memory cannot be estimated: %s", error)
        return wish is not Recompute.NEVER
    need = verdict.need.total
    done = "recomputed" if verdict.recompute else "kept"
    log.info("activations are %s: about %.1f of %.1f GiB are needed", done, need / GIB, available / GIB)
    if need > HOPELESS * available:
        raise OutOfGPUMemoryError(
            f"the run needs about {need / GIB:.0f} GiB on each GPU, which has {available / GIB:.0f} GiB; "
            f"{'; '.join(advice(config.spec, verdict)[:3])}"
        )
    return verdict.recompute


def advice(spec: FineTuneJobSpec, verdict: Verdict) -> list[str]:
    """Return what would make a run smaller that does not fit, what costs least first."""
    says = []
    if not verdict.recompute and verdict.recomputed.total <= verdict.available:
        says.append("set `spec.training.recompute` to 'Auto' or 'Always'")
    fixed = verdict.recomputed.total - verdict.recomputed.activations - verdict.recomputed.working
    tokens = spec.training.max_sequence_length
    moving = (verdict.recomputed.total - fixed) / tokens
    longest = int((verdict.available - fixed) / moving) // 64 * 64
    if 64 <= longest < tokens:
        says.append(f"lower `spec.training.maxSequenceLength` from {tokens} to {longest}, with recompute")
    if spec.method is Method.LORA:
        says.append("set `spec.method` to 'QLoRA' where the profile's engine has nf4")
    return [*says, "choose a GPU with more memory"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows, as far as work goes."""

    tokens: int
    labels: int
    """Tokens that are learnt, those of responses; the head is applied at these alone."""
    squares: int
    """Sum of the rows' squared lengths."""

    @classmethod
    def alike(cls, rows: int, mean_tokens: int) -> Rows:
        """Return rows of one length; as nothing is known of prompts, every token counts as learnt."""
        return cls(rows * mean_tokens, rows * mean_tokens, rows * mean_tokens**2)


def operations(shape: Shape, spec: FineTuneJobSpec, rows: Rows, *, recompute: bool) -> float:
    """Return the floating-point operations of all epochs.

    A frozen weight costs two a token forward and two for the input's gradient, an adapter's two more; recomputing adds
    another forward pass. Causal attention costs half of the full square, the backward pass twice the forward pass.
    """
    adapter = shape.trained_weights(spec.lora)
    width = shape.layers * shape.heads * shape.head_dim
    forward = 2 * (shape.block_weights + adapter) * rows.tokens + 2 * width * rows.squares
    backward = 2 * (shape.block_weights + 2 * adapter) * rows.tokens + 4 * width * rows.squares
    head = 4 * shape.head_weights * rows.labels
    return float(spec.training.epochs * (forward * (2 if recompute else 1) + backward + head))


def hours(work: float, gpu: Gpu, gpus: int) -> tuple[float, float]:
    """Return the least and the most hours that `gpus` GPUs need for so many operations."""
    slow, fast = (work / (gpu.peak * gpus * share) / 3600 for share in UTILISATION)
    return fast, slow
