"""What judged, in words, and whether it is what the spec asks for."""

from __future__ import annotations

from loraform_api.finetunejob import ToolchainSpec
from loraform_api.verification import Toolchain
from loraform_verifier.hcl.versions import satisfies

NAMED = 5
"""Providers and packs that are named."""
LONGEST = 240
"""Characters of all words; the report has a bound."""


def words(toolchain: Toolchain) -> str:
    """Return product and version, providers and packs, for provenance."""
    providers = [f"{source} {version}" for source, version in toolchain.providers.items()]
    packs = [f"pack {name} {digest[:12]}" for name, digest in toolchain.packs.items()]
    found = ", ".join((toolchain.terraform, *providers[:NAMED], *packs[:NAMED]))
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 1]}…"


def lacks(asked: ToolchainSpec, toolchain: Toolchain) -> str:
    """Say what the toolchain lacks; empty when it has all."""
    product, _, version = toolchain.terraform.partition(" ")
    for name, constraint in (("terraform", asked.terraform), ("opentofu", asked.opentofu)):
        if constraint and not (product == name and satisfies(version, constraint)):
            return f"{name} {constraint} is asked for, the verifier has {toolchain.terraform}"
    for provider in asked.providers:
        found = toolchain.providers.get(provider.source)
        if found is None or not satisfies(found, provider.version):
            return f"{provider.source} {provider.version} is asked for, the verifier has {found or 'none'}"
    return ""
