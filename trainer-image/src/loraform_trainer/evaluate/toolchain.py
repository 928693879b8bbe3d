"""Describes the verifier's toolchain, and compares it with the spec's requirements."""

from __future__ import annotations

from loraform_api.finetunejob import ToolchainSpec
from loraform_api.verification import Toolchain
from loraform_verifier.hcl.versions import satisfies

MAX_NAMES = 5
"""Maximum number of providers, and of packs, in a description."""
MAX_CHARACTERS = 240
"""Maximum length of a description; the stage's report is bounded."""


def describe(toolchain: Toolchain) -> str:
    """Return product and version, providers and packs in one line."""
    providers = [f"{source} {version}" for source, version in toolchain.providers.items()]
    packs = [f"pack {name} {digest[:12]}" for name, digest in toolchain.packs.items()]
    text = ", ".join((toolchain.terraform, *providers[:MAX_NAMES], *packs[:MAX_NAMES]))
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def unmet_requirement(required: ToolchainSpec, toolchain: Toolchain) -> str:
    """Return the first requirement that the toolchain does not meet; empty if it meets all."""
    product, _, product_version = toolchain.terraform.partition(" ")
    for name, constraint in (("terraform", required.terraform), ("opentofu", required.opentofu)):
        if constraint and not (product == name and satisfies(product_version, constraint)):
            return f"{name} {constraint} is required, but the verifier has {toolchain.terraform}"
    for provider in required.providers:
        version = toolchain.providers.get(provider.source)
        if version is None or not satisfies(version, provider.version):
            return f"{provider.source} {provider.version} is required, but the verifier has {version or 'none'}"
    return ""
