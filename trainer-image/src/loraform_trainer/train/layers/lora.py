"""A linear layer and its LoRA adapter as one autograd function, without peft's extra passes over the activations.

peft adds `scaling * B(A(x))` to the layer's output in three passes over tokens times width, and as many in the backward
pass. Here the product is accumulated in place, in both directions. Any layer that is not a plain linear one with one
plain adapter keeps peft's own forward pass.
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
        down_gradient = (inner.T @ flat).to(down.dtype)
        up_gradient = ((gradient.T @ between) * ctx.scaling).to(up.dtype)
        input_gradient = None
        if ctx.needs_input_grad[0]:
            input_gradient = torch.mm(gradient, weight)
            input_gradient.addmm_(inner, down.to(gradient.dtype))
            input_gradient = input_gradient.view(ctx.shape)
        return input_gradient, None, None, down_gradient, up_gradient, None


def fuse_lora_layers(model: Any) -> int:
    """Replace the forward pass of a PEFT model's plain adapted layers; return how many there are."""
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
    layer: Any, original: Callable[..., torch.Tensor], inputs: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    down = layer.lora_A[ADAPTER].weight
    same_dtype = inputs.dtype == layer.base_layer.weight.dtype and (
        inputs.dtype == down.dtype or torch.is_autocast_enabled(inputs.device.type)
    )
    if layer.disable_adapters or layer.merged or not same_dtype or args or kwargs:
        return original(inputs, *args, **kwargs)
    base, up = layer.base_layer, layer.lora_B[ADAPTER].weight
    out: torch.Tensor = _AdaptedLinear.apply(  # type: ignore[no-untyped-call] # torch's
        inputs, base.weight, base.bias, down, up, layer.scaling[ADAPTER]
    )
    return out
