"""Muon: momentum whose update of each weight matrix is made orthogonal, in float32 (torch's own uses bfloat16).

Embeddings and norms stay with AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


def orthogonal(matrices: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Return `matrices` (count, rows, columns) with their singular values brought near 1, by Newton-Schulz rounds."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    result: torch.Tensor = x if wide else x.transpose(1, 2)
    return result


class Muon(torch.optim.Optimizer):
    """For weight matrices only; matrices of one shape are updated together."""

    def __init__(self, matrices: Iterable[torch.nn.Parameter], momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(matrices, {"lr": 0.02, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for parameter in group["params"]:
                by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                updates = orthogonal(torch.stack([self._nesterov(p, group["momentum"]) for p in parameters]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-scale)

    def _nesterov(self, parameter: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        state, gradient = self.state[parameter], parameter.grad
        if gradient is None:
            raise ValueError("Muon.step: a parameter has no gradient; call backward() first")
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum)
