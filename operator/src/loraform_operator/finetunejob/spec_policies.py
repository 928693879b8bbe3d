"""Rules about what a run asks of its profile, its IaCModel and the live version, before any pod exists. Pure.

`SPEC_RULES` at the end is the specification; the first rule that applies decides. A rendered run is past them: it keeps
what it was rendered with. The engine of a run is that of its model (`pods.engine.decide_engine`), so whatever the
model's engine could not serve is refused here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from loraform_api.failures import FailureClass
from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.iacmodel import VersionRecord
from loraform_api.meta import parse_timestamp
from loraform_api.training import Method
from loraform_api.verification import Stage
from loraform_operator.finetunejob.observe import Observed, TargetModel
from loraform_operator.pods.engine import rank_limit
from loraform_operator.settings import Profile, Settings, unknown_profile

SETTLING = timedelta(seconds=5)
"""Ignore missing references for this long: objects that are applied together arrive one after the other."""


@dataclass(frozen=True)
class Block:
    """Why the run cannot continue now."""

    reason: str
    message: str
    stalled: bool = False
    """True when only the user can help."""


def is_new(created: str, now: datetime) -> bool:
    """Say whether an object was created within `SETTLING`."""
    return now - parse_timestamp(created) < SETTLING


def _invalid(message: str) -> Block:
    return Block("InvalidSpec", message, stalled=True)


def profile_exists(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    message = unknown_profile(settings, "spec.placement.profile", observed.job.spec.placement.profile)
    return _invalid(message) if message else None


def model_exists(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    reference, job = observed.job.spec.model_ref, observed.job
    if reference is None or observed.model is not None:
        return None
    message = f"spec.modelRef: IaCModel `{reference.name}` does not exist in namespace `{job.metadata.namespace}`"
    if is_new(job.metadata.creation_timestamp, now):
        return Block("Pending", message)
    return Block(FailureClass.MISSING_REFERENCE.value, f"{message}: create it, or create the job without `modelRef`")


def policies_agree(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    policy, model = observed.job.spec.policy, observed.model
    if model is None or policy is None or model.policy is None or policy == model.policy:
        return None
    return _invalid(f"spec.policy differs from the policy of IaCModel `{model.name}`: remove it, or make both equal")


def packs_have_a_plan(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    spec, model = observed.job.spec, observed.model
    policy = spec.policy or (model.policy if model else None)
    if policy is None or not policy.packs:
        return None
    suites = [s for s in spec.evaluation.suites if Stage.POLICY in s.stages and Stage.PLAN not in s.stages]
    if not suites:
        return None
    return _invalid(
        f"spec.evaluation.suites[{suites[0].name}].stages has Policy but not Plan, and the policy's packs judge a "
        "plan: add Plan, or remove Policy"
    )


def profile_is_the_models(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    profile, model = observed.job.spec.placement.profile, observed.model
    if model is None or profile == model.serving.placement.profile:
        return None
    return _invalid(
        f"spec.placement.profile is `{profile}`, but IaCModel `{model.name}` serves with profile "
        f"`{model.serving.placement.profile}`: use that one, so that the engine that measures is the one that serves"
    )


def base_fits_the_engine(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    spec, profile = observed.job.spec, _profile(observed, settings)
    if spec.method is not Method.QLORA or spec.output.merge or profile.nf4_engine_args is not None:
        return None
    return _invalid(
        f"spec.method is QLoRA, but the engine of profile `{spec.placement.profile}` cannot load the base in 4 bits "
        f"(the profile has no `nf4EngineArgs`): use LoRA, or another profile{_or_merge(spec)}"
    )


def rank_fits_the_profile(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    spec, most = observed.job.spec, _profile(observed, settings).max_lora_rank
    if spec.output.merge or spec.lora.rank <= most:
        return None
    return _invalid(
        f"spec.lora.rank is {spec.lora.rank}, but the engine of profile `{spec.placement.profile}` loads adapters of "
        f"at most {most} (its `maxLoraRank`): use at most {most}, or another profile{_or_merge(spec)}"
    )


def rank_fits_the_model(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    rank, model = observed.job.spec.lora.rank, observed.model
    if model is None or rank <= model.serving.lora.max_rank:
        return None
    most = model.serving.lora.max_rank
    return _invalid(
        f"spec.lora.rank is {rank}, but IaCModel `{model.name}` serves adapters of at most {most} "
        f"(its `spec.serving.lora.maxRank`): use at most {most}, or raise that field"
    )


def engine_loads_the_live_version(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    live, model, profile = _live(observed.model), observed.model, _profile(observed, settings)
    if live is None or model is None or live.rank <= rank_limit(profile, model.serving.lora):
        return None
    if live.rank > profile.max_lora_rank:
        limit = f"profile `{model.serving.placement.profile}` loads adapters of at most {profile.max_lora_rank}"
        fix = f"choose a profile with `maxLoraRank` {live.rank} or more"
    else:
        limit = f"spec.serving.lora.maxRank of IaCModel `{model.name}` is {model.serving.lora.max_rank}"
        fix = f"raise that field to {live.rank} or more"
    return _invalid(
        f"{limit}, but its live version {live.version}, with which the run is compared, has rank {live.rank}: {fix}"
    )


def method_is_the_live_versions(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    live, method = _live(observed.model), observed.job.spec.method
    if live is None or live.method is method:
        return None
    return _invalid(
        f"spec.method is {method}, but the live version {live.version} was trained with {live.method}: "
        "one engine cannot load both for the comparison; use that method, or another IaCModel"
    )


def number_type_is_the_live_versions(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    live, dtype = _live(observed.model), _profile(observed, settings).engine_dtype
    if live is None or live.engine_dtype == dtype:
        return None
    return _invalid(
        f"spec.placement.profile is `{observed.job.spec.placement.profile}`, whose engine computes in {dtype} (its "
        f"`engineDtype`), but the live version {live.version} was trained and measured in {live.engine_dtype}: "
        "use a profile with that number type, or another IaCModel"
    )


def base_is_the_live_versions(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    live, base = _live(observed.model), observed.job.spec.base_model.storage_uri
    if live is None or live.base_model_uri == base:
        return None
    return _invalid(
        f"spec.baseModel.storageUri is {base}, but the live version {live.version} was trained on "
        f"{live.base_model_uri}: one engine cannot load both for the comparison; use that base, or another IaCModel"
    )


SPEC_RULES: tuple[Callable[[Observed, Settings, datetime], Block | None], ...] = (
    profile_exists,
    model_exists,
    policies_agree,
    packs_have_a_plan,
    profile_is_the_models,
    base_fits_the_engine,
    rank_fits_the_profile,
    rank_fits_the_model,
    engine_loads_the_live_version,
    method_is_the_live_versions,
    number_type_is_the_live_versions,
    base_is_the_live_versions,
)
"""Why a run is not rendered."""


def spec_can_be_served(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    """Return the first reason why the run is not rendered; None once it is."""
    if observed.run:
        return None
    return next((b for rule in SPEC_RULES if (b := rule(observed, settings, now))), None)


def _profile(observed: Observed, settings: Settings) -> Profile:
    return settings.profiles[observed.job.spec.placement.profile]  # `profile_exists` comes first


def _live(model: TargetModel | None) -> VersionRecord | None:
    return model.live if model else None


def _or_merge(spec: FineTuneJobSpec) -> str:
    """Return the further way out of a run without a model: a merged model needs no adapter in the engine."""
    return "" if spec.model_ref else ", or `output.merge: true`"
