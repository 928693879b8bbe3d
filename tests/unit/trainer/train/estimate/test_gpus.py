"""Finding a GPU by name."""

from __future__ import annotations

import pytest

from loraform_trainer.train.estimate import gpus


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A10G", "A10"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("Tesla T4", None),
    ],
)
def test_gpus_are_found_by_driver_name_and_short_name(said: str, found: str | None) -> None:
    gpu = gpus.find_gpu(said)
    assert (gpu and gpu.name) == found
