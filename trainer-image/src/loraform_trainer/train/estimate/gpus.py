"""Memory and peak performance of known GPUs."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    """Part of the name that the driver reports."""
    gib: float
    """Memory that CUDA reports, in GiB; less than the vendor's number, which is in GB."""
    peak: float
    """Dense bfloat16 operations per second by the vendor's data sheet."""

    @property
    def memory(self) -> int:
        """Memory in bytes."""
        return int(self.gib * GIB)


GPUS = (
    Gpu("H200", 139.5, 989e12),
    Gpu("H100 PCIe", 79.0, 756e12),
    Gpu("H100", 79.0, 989e12),
    Gpu("A100-SXM4-40GB", 39.3, 312e12),
    Gpu("A100-PCIE-40GB", 39.3, 312e12),
    Gpu("A100", 79.0, 312e12),
    Gpu("L40S", 44.3, 362e12),
    Gpu("L4", 21.9, 121e12),
    Gpu("A10", 21.9, 125e12),
    Gpu("RTX 4090", 23.5, 165e12),
)
"""More specific names come first, as the first match counts."""


def find_gpu(name: str) -> Gpu | None:
    """Return the GPU of a driver's name (`NVIDIA H100 80GB HBM3`) or a short one (`h100`, `rtx4090`), or None."""
    normalised = name.casefold().replace("nvidia", "").replace("geforce", "").replace(" ", "").replace("a10g", "a10")
    return next((gpu for gpu in GPUS if gpu.name.casefold().replace(" ", "") in normalised), None)
