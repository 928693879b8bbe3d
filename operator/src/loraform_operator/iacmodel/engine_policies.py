"""Rules about a version and the engine that the model's spec asks for. Pure.

`ENGINE_RULES` at the end is the specification; the first that refuses is shown. A run meets the same rules before it
begins, so a version breaks one only after the model's spec or the profile was edited. No engine is then started or
changed for it: the one that runs goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from loraform_api.iacmodel import ServingSpec, VersionRecord
from loraform_api.training import Method
from loraform_operator.settings import Profile


def rank_fits_the_model(version: VersionRecord, serving: ServingSpec, profile: Profile) -> str:
    most = serving.lora.max_rank
    if version.rank <= most:
        return ""
    return f"spec.serving.lora.maxRank is {most}, but its adapter has rank {version.rank}: use {version.rank} or more"


def rank_fits_the_profile(version: VersionRecord, serving: ServingSpec, profile: Profile) -> str:
    most = profile.max_lora_rank
    if version.rank <= most:
        return ""
    return (
        f"spec.serving.placement.profile is `{serving.placement.profile}`, whose engine loads adapters of at most rank "
        f"{most} (its `maxLoraRank`), but its adapter has rank {version.rank}: use a profile with {version.rank} or "
        "more"
    )


def base_fits_the_engine(version: VersionRecord, serving: ServingSpec, profile: Profile) -> str:
    if version.method is not Method.QLORA or profile.nf4_engine_args is not None:
        return ""
    return (
        f"spec.serving.placement.profile is `{serving.placement.profile}`, whose engine cannot load the base in 4 "
        f"bits, but it was trained and measured with {version.method}: use a profile with `nf4EngineArgs`"
    )


def number_type_is_measured(version: VersionRecord, serving: ServingSpec, profile: Profile) -> str:
    if version.engine_dtype == profile.engine_dtype:
        return ""
    return (
        f"spec.serving.placement.profile is `{serving.placement.profile}`, whose engine computes in "
        f"{profile.engine_dtype}, but it was trained and measured in {version.engine_dtype}: use a profile with that "
        "`engineDtype`"
    )


ENGINE_RULES: tuple[Callable[[VersionRecord, ServingSpec, Profile], str], ...] = (
    rank_fits_the_model,
    rank_fits_the_profile,
    base_fits_the_engine,
    number_type_is_measured,
)
"""Why the model's engine cannot serve a version as it was measured; a rule returns an empty text where it can."""


def engine_refusal(version: VersionRecord, serving: ServingSpec, profile: Profile) -> str:
    """Return the first reason why the model's engine cannot serve the version; empty when it can."""
    return next((text for rule in ENGINE_RULES if (text := rule(version, serving, profile))), "")
