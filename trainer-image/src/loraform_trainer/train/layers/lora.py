"""An adapted linear layer in one piece: peft's arithmetic without its extra passes over the activations.

peft adds `scaling * B(A(x))` to the layer's output in three passes over tokens times width, and takes as many back.
Here the product is accumulated where the output already lies, in both directions. Layers that are anything but a
plain linear one with one plain adapter keep peft's own forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft.tuners import lora
from typing_extensions import override

ADAPTER = "default"


class _AdaptedLinear(torch.autograd.Function):
    @staticmethod
    @override
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        flat = inputs.reshape(-1, inputs.shape[-1])
        between = flat @ down.to(flat.dtype).T
        out = flat @ weight.T if bias is None else torch.addmm(bias, flat, weight.T)
        out.addmm_(between, up.to(flat.dtype).T, alpha=scaling)
        ctx.save_for_backward(flat, between, weight, down, up)
        ctx.scaling, ctx.shape = scaling, inputs.shape
        return out.view(*inputs.shape[:-1], -1)

    @staticmethod
    @override
    def backward(
        ctx: Any, *outputs: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, None, torch.Tensor, torch.Tensor, None]:
        flat, between, weight, down, up = ctx.saved_tensors
        gradient = outputs[0].reshape(-1, weight.shape[0])
        inner = gradient @ up.to(gradient.dtype)
        inner *= ctx.scaling
        to_down = (inner.T @ flat).to(down.dtype)
        to_up = ((gradient.T @ between) * ctx.scaling).to(up.dtype)
        to_inputs = None
        if ctx.needs_input_grad[0]:
            to_inputs = torch.mm(gradient, weight)
            to_inputs.addmm_(inner, down.to(gradient.dtype))
            to_inputs = to_inputs.view(ctx.shape)
        return to_inputs, None, None, to_down, to_up, None


def fuse(model: Any) -> int:
    """Let the plain adapted layers of a PEFT model compute in one piece; return how many there are."""
    layers = [module for module in model.modules() if isinstance(module, lora.Linear) and _plain(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)
    return len(layers)


def _plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    return (
        type(base) is torch.nn.Linear
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and list(layer.lora_A) == [ADAPTER]
        and not layer.lora_variant
        and not layer.fan_in_fan_out
        and layer.lora_B[ADAPTER].bias is None
        and isinstance(layer.lora_dropout[ADAPTER], torch.nn.Identity)
    )


def _forward(
    layer: Any, whole: Callable[..., torch.Tensor], inputs: torch.Tensor, *args: Any, **kw: Any
) -> torch.Tensor:
    down = layer.lora_A[ADAPTER].weight
    alike = inputs.dtype == layer.base_layer.weight.dtype and (
        inputs.dtype == down.dtype or torch.is_autocast_enabled(inputs.device.type)
    )
    if layer.disable_adapters or layer.merged or not alike or args or kw:
        return whole(inputs, *args, **kw)
    base, up = layer.base_layer, layer.lora_B[ADAPTER].weight
    out: torch.Tensor = _AdaptedLinear.apply(  # type: ignore[no-untyped-call] # torch's
        inputs, base.weight, base.bias, down, up, layer.scaling[ADAPTER]
    )
    return out
