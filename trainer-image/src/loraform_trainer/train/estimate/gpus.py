"""GPUs that runs are planned for: what they hold, and what they compute at most."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    """A part of the name that its driver reports."""
    gib: float
    """Memory that CUDA sees, in GiB: less than the vendor's number, which counts in thousands."""
    peak: float
    """Dense bfloat16 operations a second, by the vendor's data sheet."""

    @property
    def memory(self) -> int:
        """Bytes."""
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
"""More particular names come first."""


def find(name: str) -> Gpu | None:
    """Return the GPU of a driver's name (`NVIDIA H100 80GB HBM3`) or of a person's (`h100`, `rtx4090`), or None."""
    words = name.casefold().replace("nvidia", "").replace("geforce", "").replace(" ", "").replace("a10g", "a10")
    return next((gpu for gpu in GPUS if gpu.name.casefold().replace(" ", "") in words), None)
