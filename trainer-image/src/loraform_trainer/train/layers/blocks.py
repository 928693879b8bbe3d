"""A block's elementwise layers in fewer passes over the activations, and with less kept for the backward pass.

transformers writes RMS norm, rotary embedding and gated MLP as chains of operations, each of which reads and writes all
activations, and keeps what autograd asks for: float32 copies, the gate before and after its activation. Here each is
one function that keeps its inputs alone. A layer is replaced only where it says, and sends back, what its own forward
pass does; of other kinds of norm, rotation or activation everything stays as it is.
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
"""What transformers' modelling modules call the rotation of query and key."""
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Largest difference that rounding explains, by the largest value."""
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
        along = (gradient * inputs).sum(dim=-1, keepdim=True).mul_(inverse.pow(3)).div_(inputs.shape[-1])
        gradient.mul_(inverse).addcmul_(inputs.float(), along, value=-1)
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


class _Rotated(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turn(states, cosine, sine, 1)

    @staticmethod
    @override
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _turn(outputs[0], cosine, sine, -1), None, None


def _turn(states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, way: int) -> torch.Tensor:
    """Turn each pair of a head's halves; `way` is 1, or -1 for back. Sine and cosine have two equal halves."""
    half = states.shape[-1] // 2
    out = states * cosine
    out[..., :half].addcmul_(states[..., half:], sine[..., :half], value=-way)
    out[..., half:].addcmul_(states[..., :half], sine[..., half:], value=way)
    return out


class _Rotation:
    """Stands for transformers' rotation of query and key, and calls it for what it does not know."""

    def __init__(self, own: Callable[..., Tensors]) -> None:
        self._own = own

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        *more: Any,
        unsqueeze_dim: int = 1,
        **other: Any,
    ) -> Tensors:
        known = cosine.shape[-1] == query.shape[-1] and cosine.dtype == query.dtype
        if not known or more or other:
            return self._own(query, key, cosine, sine, *more, unsqueeze_dim=unsqueeze_dim, **other)
        cosine, sine = cosine.unsqueeze(unsqueeze_dim), sine.unsqueeze(unsqueeze_dim)
        return tuple(_Rotated.apply(states, cosine, sine) for states in (query, key))  # type: ignore[no-untyped-call] # torch's


def lighten(model: Any) -> dict[str, int]:
    """Replace what can be replaced in a causal model; return how many layers of each kind.

    The rotation is a function of transformers' module, so it is replaced for all models of that kind in this process.
    """
    embeddings = model.get_input_embeddings().weight
    done = {"norms": 0, "gated MLPs": 0, "rotations": 0}
    for module in list(model.modules()):
        if _is_norm(module):
            done["norms"] += _replace(module, partial(_norm, module), _random(embeddings, len(module.weight)))
        elif _is_gated(module):
            done["gated MLPs"] += _replace(module, partial(_gated, module), _random(embeddings, embeddings.shape[1]))
        elif hasattr(module, "q_proj"):
            done["rotations"] += _rotate(sys.modules[type(module).__module__], embeddings)
    return done


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


def _replace(module: Any, light: Callable[[torch.Tensor], torch.Tensor], sample: torch.Tensor) -> bool:
    """Let a layer be computed by `light` where that is the same."""
    same = _same(lambda: (module(sample),), lambda: (light(sample),), [sample])
    if same:
        module.forward = light
    return same


def _rotate(namespace: Any, like: torch.Tensor) -> bool:
    """Let a modelling module rotate in fewer passes where that is the same."""
    own = getattr(namespace, ROTATION, None)
    if own is None or isinstance(own, _Rotation):
        return own is not None
    query, key = _random(like, 16).expand(2, 3, 5, 16).detach(), _random(like, 16).expand(2, 1, 5, 16).detach() * 2
    angles = torch.linspace(0, 3, 40, device=like.device).view(1, 5, 8).repeat(1, 1, 2)
    turned = (query.requires_grad_(), key.requires_grad_(), angles.cos().to(like.dtype), angles.sin().to(like.dtype))
    light = _Rotation(own)
    same = _same(lambda: own(*turned), lambda: light(*turned), [query, key])
    if same:
        setattr(namespace, ROTATION, light)
    return same


def _random(like: torch.Tensor, width: int) -> torch.Tensor:
    """Return five random tokens of a width, always the same, of the type and on the device of `like`."""
    drawn = torch.randn(1, 5, width, generator=torch.Generator().manual_seed(0))
    return drawn.to(like.device, like.dtype).requires_grad_()


def _same(own: Callable[[], Tensors], light: Callable[[], Tensors], inputs: list[torch.Tensor]) -> bool:
    """Say whether both return the same, and send back the same gradients of `inputs`."""
    found = []
    for layer in (own, light):
        out = layer()
        loss = sum(
            (states.float() * torch.arange(1, states.shape[-1] + 1, device=states.device)).sum() for states in out
        )
        found.append([*out, *torch.autograd.grad(loss, inputs)])  # type: ignore[arg-type] # a sum that may be the int 0
    return all(_close(a, b) for a, b in zip(*found, strict=True))


def _close(own: torch.Tensor, light: torch.Tensor) -> bool:
    if own.shape != light.shape or own.dtype != light.dtype:
        return False
    allowed = ROUNDING.get(own.dtype, ROUNDING[torch.bfloat16]) * float(own.detach().abs().max())
    return float((own - light).detach().abs().max()) <= allowed
