"""What a forward pass leaves for its backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakSet

import torch


@dataclass(eq=False)
class Kept:
    """A tensor in autograd's graph; it goes when its part of the graph does."""

    tensor: torch.Tensor


class Saved:
    """Bytes of what autograd keeps, each storage once; the model's own weights are not counted."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
        self._kept: WeakSet[Kept] = WeakSet()

    def keep(self, tensor: torch.Tensor) -> Kept:
        kept = Kept(tensor)
        self._kept.add(kept)
        return kept

    @property
    def bytes(self) -> int:
        storages = {s.data_ptr(): s.nbytes() for s in (kept.tensor.untyped_storage() for kept in self._kept)}
        return sum(size for address, size in storages.items() if address not in self._own)
