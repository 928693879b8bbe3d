"""Derives the status of a model from what was observed. Pure: only `derive_status` decides it, `now` is a parameter.

state                        Ready    CandidateAccepted           Serving   Reconciling  Stalled
no version accepted yet      False    Unknown, False if refused   False      -            -
accepted, none live yet      False    True                        False     True          -
first adapter not servable   False    True                        False      -           True
live                         True     True, False if the newest   True       -            -
                                      candidate was refused
live, next one loading       True     True                        True      True          -
live, next one not servable  True     True                        True       -            -
live, pods not ready         False    any                         False     True          -
live, scaled to zero         True     any                         False      -            -
live, not servable by spec   False    any                         as above   -            True
live, template differs       False    any                         False      -            True
live, no engine can load it  False    any                         False      -            True
live, a gateway still open   False    any                         True      True          -
gateway's Secret unusable    False    any                         as above   -            True
any of these, next loading   False    any                         the same   True         -
object refused by the API    False    any                         as above   -           True
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from loraform_api.iacmodel import (
    ConditionType,
    Decision,
    IaCModelStatus,
    VersionRecord,
    VersionStatus,
)
from loraform_api.meta import Condition, ConditionStatus, find_condition, merge_conditions
from loraform_operator.iacmodel.gateway_options import endpoint_status, gateway_problem, is_still_open
from loraform_operator.iacmodel.observe import Observed, engine_refusal_of, not_servable, template_mismatch
from loraform_operator.iacmodel.plan import engine_selector
from loraform_operator.iacmodel.pod_problems import pod_problem
from loraform_operator.kube.objects import Object
from loraform_operator.kube.resource import ConditionRow, conditions_of, invalid_status

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
VERSIONS_SHOWN = 101


@dataclass(frozen=True)
class ServingState:
    """Condition `Serving`, and what follows for the other conditions."""

    status: ConditionStatus
    reason: str
    message: str
    ready: bool = False
    """True when the model serves as its spec requires."""
    moving: bool = False
    """True while the operator or the cluster is working on it."""
    stalled: bool = False
    """True when only the user can help."""


def derive_status(observed: Observed, now: datetime) -> IaCModelStatus:
    """Return the status that the model should have now; `observed.route` is the current route."""
    model, live = observed.model, observed.live
    serving = derive_serving(observed)
    engine_status = (observed.engine or {}).get("status") or {}
    return IaCModelStatus(
        observed_generation=model.metadata.generation,
        conditions=merge_conditions(model.status.conditions, _conditions(observed, serving, now)),
        live_version=live.version if live else None,
        endpoint=endpoint_status(observed) if observed.route else None,
        replicas=engine_status.get("replicas") or 0,
        selector=engine_selector(model),
        versions=[_summary(v) for v in observed.versions[:VERSIONS_SHOWN]],
    )


def derive_serving(observed: Observed) -> ServingState:
    """Return the state of serving; the first case that applies."""
    live, target = observed.live, observed.target
    if observed.refused:
        status = FALSE if live is None else _pods_ready(observed)
        return ServingState(status, "Refused", observed.refused, stalled=True)
    if target is None:
        return ServingState(
            FALSE, "NoVersion", "no candidate has been accepted yet: create a FineTuneJob with `modelRef`"
        )
    if live is None:
        return _first_version(observed, target)
    return (
        _live_not_servable(observed, live, target)
        or _gateway_not_as_specified(observed, live)
        or _with_live(observed, live, target)
    )


def _first_version(observed: Observed, target: VersionRecord) -> ServingState:
    """Return the state while no version is live."""
    refusal = not_servable(observed, target)
    if refusal:
        return ServingState(FALSE, "AdapterNotServable", _refusal(target, refusal), stalled=True)
    if problem := gateway_problem(observed):
        return ServingState(FALSE, "SecretUnusable", problem, stalled=True)
    progress = pod_problem(observed.children) or _loading(observed, target)
    return ServingState(FALSE, "Deploying", f"{_name(target)} was accepted; {progress}", moving=True)


def _with_live(observed: Observed, live: VersionRecord, target: VersionRecord) -> ServingState:
    """Return the state while a version is live; `target` may be a newer one."""
    if observed.replicas == 0:
        return ServingState(FALSE, "ScaledToZero", f"{_name(live)} is live; `serving.replicas` is 0", ready=True)
    if _pods_ready(observed) is FALSE:
        message = pod_problem(observed.children) or f"{_name(live)} is live; {_counts(observed)}"
        return ServingState(FALSE, "PodsNotReady", message, moving=True)
    if live.artifact_digest == target.artifact_digest:
        return ServingState(TRUE, "VersionLive", f"{_name(live)} is live", ready=True)
    if refusal := not_servable(observed, target):
        message = f"{_refusal(target, refusal)}; {_name(live)} stays live"
        return ServingState(TRUE, "AdapterNotServable", message, ready=True)
    until = f"until {_name(target)} is loaded and passes the parity check"
    message = f"{_name(live)} stays live {until}; {_loading(observed, target)}"
    return ServingState(TRUE, "AdapterLoading", message, ready=True, moving=True)


def _live_not_servable(observed: Observed, live: VersionRecord, target: VersionRecord) -> ServingState | None:
    """Return the state when engine or gateways cannot serve the live version any more; None when they can."""
    newer = target.artifact_digest != live.artifact_digest and not not_servable(observed, target)
    progress = f"{_name(target)} is to replace it: {_loading(observed, target)}" if newer else ""
    if refusal := engine_refusal_of(observed, live):
        message = f"{_refusal(live, refusal)}; {progress or 'the engine that runs is left as it is'}"
        return ServingState(_pods_ready(observed), "InvalidSpec", message, moving=newer, stalled=not newer)
    if mismatch := template_mismatch(observed, live):
        then = progress or f"create FineTuneJob `{live.job}` again, under another name"
        message = f"{_name(live)} cannot answer: {mismatch}; {then}"
        return ServingState(FALSE, "TemplateMismatch", message, moving=newer, stalled=not newer)
    if not _ready(observed.engine) and (refusal := not_servable(observed, live)):
        then = progress or "restore base model and profile as they were, or train for another IaCModel"
        message = f"{_refusal(live, refusal)}; {then}"
        return ServingState(FALSE, "AdapterNotServable", message, moving=newer, stalled=not newer)
    return None


def _gateway_not_as_specified(observed: Observed, live: VersionRecord) -> ServingState | None:
    """Return the state when a gateway lacks its Secret, or one of an earlier spec demands no key; None otherwise."""
    if problem := gateway_problem(observed):
        return ServingState(_pods_ready(observed), "SecretUnusable", problem, stalled=True)
    if is_still_open(observed) and _pods_ready(observed) is TRUE:
        message = f"{_name(live)} is live; a gateway pod of the earlier spec still answers without a key"
        return ServingState(TRUE, "Deploying", message, moving=True)
    return None


def invalid_spec_status(old: IaCModelStatus, generation: int, message: str, now: datetime) -> IaCModelStatus:
    """Return the status of an object whose spec, or a record, cannot be used; conditions about versions stay."""
    types = (ConditionType.CANDIDATE_ACCEPTED, ConditionType.SERVING)
    rows = [(type_, UNKNOWN, "InvalidSpec", message) for type_ in types]
    others = [
        (find_condition(old.conditions, unknown.type) or unknown).model_copy(update={"observed_generation": generation})
        for unknown in conditions_of(rows, generation, now)
    ]
    return invalid_status(old, generation, message, others, now)


def _conditions(observed: Observed, serving: ServingState, now: datetime) -> list[Condition]:
    cause = (serving.reason, serving.message)
    rows: list[ConditionRow] = [
        (ConditionType.READY, TRUE if serving.ready else FALSE, *cause),
        (ConditionType.CANDIDATE_ACCEPTED, *_candidate(observed)),
        (ConditionType.SERVING, serving.status, *cause),
    ]
    if serving.moving:
        rows.append((ConditionType.RECONCILING, TRUE, *cause))
    if serving.stalled:
        rows.append((ConditionType.STALLED, TRUE, *cause))
    return conditions_of(rows, observed.model.metadata.generation, now)


def _candidate(observed: Observed) -> tuple[ConditionStatus, str, str]:
    newest = next(iter(observed.versions), None)
    if newest is None:
        return UNKNOWN, "NoCandidate", "no FineTuneJob with `modelRef` to this model has succeeded yet"
    accepted = newest.decision is Decision.ACCEPTED
    return TRUE if accepted else FALSE, newest.decision.value, f"{_name(newest)}: {newest.message}"


def _pods_ready(observed: Observed) -> ConditionStatus:
    return TRUE if _ready(observed.engine) and _ready(observed.gateway) else FALSE


def _ready(deployment: Object | None) -> int:
    return int(((deployment or {}).get("status") or {}).get("readyReplicas") or 0)


def _counts(observed: Observed) -> str:
    return f"ready pods: {_ready(observed.engine)} engine, {_ready(observed.gateway)} gateway"


def _loading(observed: Observed, target: VersionRecord) -> str:
    """Return what the agents report about the version."""
    if not observed.agents:
        return "no engine pod has reported yet"
    reports = [a for beat in observed.agents.values() for a in beat.adapters if a.digest == target.artifact_digest]
    ready = sum(a.state == "Ready" for a in reports)
    reasons = sorted({a.message for a in reports if a.state == "Loading" and a.message})
    return "; ".join([f"{ready} of {len(observed.agents)} engine pods are ready to serve it", *reasons[:1]])


def _refusal(target: VersionRecord, reason: str) -> str:
    return f"{_name(target)} was accepted, but the engine cannot serve it: {reason}"


def _name(version: VersionRecord) -> str:
    return f"version {version.version} (job {version.job})"


def _summary(version: VersionRecord) -> VersionStatus:
    return VersionStatus(
        version=version.version,
        job=version.job,
        digest=version.artifact_digest,
        decision=version.decision,
        message=version.message,
        suite_decisions=version.suite_decisions,
    )
