"""The toolchain's description, and its comparison with the spec."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_api.finetunejob import ToolchainSpec
from loraform_api.verification import Toolchain
from loraform_trainer.evaluate.toolchain import MAX_CHARACTERS, describe, unmet_requirement

HAS = Toolchain(terraform="terraform 1.11.4", providers={"hashicorp/aws": "5.100.0"}, packs={"cost": "ab" * 32})


def test_the_description_names_product_providers_and_packs() -> None:
    assert describe(HAS) == "terraform 1.11.4, hashicorp/aws 5.100.0, pack cost abababababab"


def test_a_long_description_is_cut() -> None:
    many = HAS.model_copy(update={"packs": {f"{i}{'x' * 60}": "ab" * 32 for i in range(5)}})
    assert len(describe(many)) == MAX_CHARACTERS
    assert describe(many).startswith("terraform 1.11.4, hashicorp/aws 5.100.0, pack 0xx")


@pytest.mark.parametrize(
    ("asked", "lacking"),
    [
        ({}, ""),
        ({"terraform": "~> 1.11"}, ""),
        ({"terraform": ">= 1.10, < 1.12", "providers": [{"source": "hashicorp/aws", "version": "~> 5.100"}]}, ""),
        ({"terraform": "~> 1.12"}, "terraform ~> 1.12 is required, but the verifier has terraform 1.11.4"),
        ({"opentofu": "~> 1.11"}, "opentofu ~> 1.11 is required, but the verifier has terraform 1.11.4"),
        (
            {"providers": [{"source": "hashicorp/random", "version": "3"}]},
            "hashicorp/random 3 is required, but the verifier has none",
        ),
        (
            {"providers": [{"source": "hashicorp/aws", "version": "6"}]},
            "hashicorp/aws 6 is required, but the verifier has 5.100.0",
        ),
    ],
)
def test_an_unmet_requirement_is_named(asked: dict[str, Any], lacking: str) -> None:
    assert unmet_requirement(ToolchainSpec.model_validate(asked), HAS) == lacking
