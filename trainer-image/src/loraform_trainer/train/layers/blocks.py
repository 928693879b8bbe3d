"""RMS norm, rotary embedding and gated MLP with fewer passes over the activations and less saved for backward.

transformers writes each as a chain of operations that all read and write the activations, and autograd saves float32
copies and the gate before and after its activation. Here each is one autograd function that saves only its inputs. A
layer is replaced only if outputs and gradients are those of its own forward pass; other kinds of norm, rotation or
activation are left unchanged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from typing_extensions import override

ROTATION = "apply_rotary_pos_emb"
"""Name, in transformers' modelling modules, of the function that rotates query and key."""
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Largest difference due to rounding, relative to the largest value."""
Tensors = tuple[torch.Tensor, ...]


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        norm = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(inputs.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(inputs, inverse, weight)
        out: torch.Tensor = (inputs * inverse).to(inputs.dtype)
        return out.mul_(weight)

    @staticmethod
    @override
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        inputs, inverse, weight = ctx.saved_tensors
        gradient = (outputs[0] * weight).float()
        projection = (gradient * inputs).sum(dim=-1, keepdim=True).mul_(inverse.pow(3)).div_(inputs.shape[-1])
        gradient.mul_(inverse).addcmul_(inputs.float(), projection, value=-1)
        return gradient.to(inputs.dtype), None, None


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @override
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        (gradient,) = outputs
        return torch.ops.aten.silu_backward(gradient * up, gate), F.silu(gate).mul_(gradient)


class _RotaryEmbedding(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotate(states, cosine, sine, 1)

    @staticmethod
    @override
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _rotate(outputs[0], cosine, sine, -1), None, None


def _rotate(states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, direction: int) -> torch.Tensor:
    """Rotate the pairs formed by a head's halves; `direction` is 1, or -1 for the inverse.

    Sine and cosine have two equal halves.
    """
    half = states.shape[-1] // 2
    out = states * cosine
    out[..., :half].addcmul_(states[..., half:], sine[..., :half], value=-direction)
    out[..., half:].addcmul_(states[..., :half], sine[..., half:], value=direction)
    return out


class _Rotation:
    """Replaces transformers' rotation of query and key; calls the original for arguments it does not support."""

    def __init__(self, original: Callable[..., Tensors]) -> None:
        self._original = original

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        *args: Any,
        unsqueeze_dim: int = 1,
        **kwargs: Any,
    ) -> Tensors:
        supported = cosine.shape[-1] == query.shape[-1] and cosine.dtype == query.dtype
        if not supported or args or kwargs:
            return self._original(query, key, cosine, sine, *args, unsqueeze_dim=unsqueeze_dim, **kwargs)
        cosine, sine = cosine.unsqueeze(unsqueeze_dim), sine.unsqueeze(unsqueeze_dim)
        return tuple(_RotaryEmbedding.apply(states, cosine, sine) for states in (query, key))  # type: ignore[no-untyped-call] # torch's


def fuse_block_layers(model: Any) -> dict[str, int]:
    """Replace the supported layers of a causal model; return the number of layers by kind.

    The rotation is a function of transformers' module, so it is replaced for all models of that module in this process.
    """
    embeddings = model.get_input_embeddings().weight
    fused = {"norms": 0, "gated MLPs": 0, "rotations": 0}
    for module in list(model.modules()):
        if _is_norm(module):
            fused["norms"] += _replace(module, partial(_norm, module), _random(embeddings, len(module.weight)))
        elif _is_gated(module):
            fused["gated MLPs"] += _replace(module, partial(_gated, module), _random(embeddings, embeddings.shape[1]))
        elif hasattr(module, "q_proj"):
            fused["rotations"] += _replace_rotation(sys.modules[type(module).__module__], embeddings)
    return fused


def _is_norm(module: torch.nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return hasattr(module, "variance_epsilon") and weight is not None and weight.dim() == 1 and not weight.requires_grad


def _norm(module: Any, inputs: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = _RMSNorm.apply(inputs, module.weight, module.variance_epsilon)  # type: ignore[no-untyped-call] # torch's
    return out


def _is_gated(module: torch.nn.Module) -> bool:
    return all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn"))


def _gated(module: Any, inputs: torch.Tensor) -> torch.Tensor:
    inner = _SwiGLU.apply(module.gate_proj(inputs), module.up_proj(inputs))  # type: ignore[no-untyped-call] # torch's
    out: torch.Tensor = module.down_proj(inner)
    return out


def _replace(module: Any, fused: Callable[[torch.Tensor], torch.Tensor], sample: torch.Tensor) -> bool:
    """Replace a layer's forward pass by `fused` if both are equal on `sample`; return whether it was replaced."""
    same = _same(lambda: (module(sample),), lambda: (fused(sample),), [sample])
    if same:
        module.forward = fused
    return same


def _replace_rotation(modelling: Any, like: torch.Tensor) -> bool:
    """Replace a modelling module's rotation if both are equal on a sample; return whether it is replaced."""
    original = getattr(modelling, ROTATION, None)
    if original is None or isinstance(original, _Rotation):
        return original is not None
    query, key = _random(like, 16).expand(2, 3, 5, 16).detach(), _random(like, 16).expand(2, 1, 5, 16).detach() * 2
    angles = torch.linspace(0, 3, 40, device=like.device).view(1, 5, 8).repeat(1, 1, 2)
    arguments = (query.requires_grad_(), key.requires_grad_(), angles.cos().to(like.dtype), angles.sin().to(like.dtype))
    fused = _Rotation(original)
    same = _same(lambda: original(*arguments), lambda: fused(*arguments), [query, key])
    if same:
        setattr(modelling, ROTATION, fused)
    return same


def _random(like: torch.Tensor, width: int) -> torch.Tensor:
    """Return five tokens of a width, drawn with a fixed seed, with dtype and device of `like`."""
    drawn = torch.randn(1, 5, width, generator=torch.Generator().manual_seed(0))
    return drawn.to(like.device, like.dtype).requires_grad_()


def _same(original: Callable[[], Tensors], fused: Callable[[], Tensors], inputs: list[torch.Tensor]) -> bool:
    """Return True if both have the same outputs and the same gradients of `inputs`."""
    results = []
    for layer in (original, fused):
        out = layer()
        loss = sum(
            (states.float() * torch.arange(1, states.shape[-1] + 1, device=states.device)).sum() for states in out
        )
        results.append([*out, *torch.autograd.grad(loss, inputs)])  # type: ignore[arg-type] # a sum that may be the int 0
    return all(_close(a, b) for a, b in zip(*results, strict=True))


def _close(original: torch.Tensor, fused: torch.Tensor) -> bool:
    if original.shape != fused.shape or original.dtype != fused.dtype:
        return False
    allowed = ROUNDING.get(original.dtype, ROUNDING[torch.bfloat16]) * float(original.detach().abs().max())
    return float((original - fused).detach().abs().max()) <= allowed
