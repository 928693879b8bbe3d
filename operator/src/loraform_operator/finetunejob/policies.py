"""Named rules about a run, in order: why it cannot go on now (`BLOCKS`) and why it has failed for good (`FAILURES`).

The two tuples at the end are the specification. Each rule is pure and looks at one thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from loraform_api.failures import HINTS, UNCOUNTED, FailureClass
from loraform_api.finetunejob_status import AttemptStatus, FineTuneJobStatus
from loraform_api.meta import parse_timestamp
from loraform_api.names import RunStage
from loraform_operator.finetunejob.observe import Object, Observed, job_finished, retry_of
from loraform_operator.finetunejob.reports import (
    clean,
    condition,
    container_statuses,
    phase,
    sidecar_statuses,
    stage_of,
)
from loraform_operator.pods.memory import killed_of, memory_hint, memory_kill, memory_words
from loraform_operator.settings import Settings

RESTARTS_WITHOUT_PROGRESS = 20
RESTARTS = tuple(code.failure for code in UNCOUNTED)
LOST_REPORTS = 3
SETTLING = timedelta(seconds=5)
"""What is missing for a shorter time is no news: objects applied together come one after the other."""
NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
NO_CONTAINER = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Block:
    """Something that must change before the run goes on."""

    reason: str
    message: str
    stalled: bool = False
    """True: nothing but the user can change it."""


@dataclass(frozen=True)
class Failure:
    """The run has failed for good."""

    reason: FailureClass
    message: str
    """What happened, and what to do next."""


def failure(reason: FailureClass, message: str, hint: str | None = None) -> Failure:
    """Return a failure whose message ends in the hint of its class."""
    return Failure(reason, f"{clean(message)}. {hint or HINTS[reason]}" if message else hint or HINTS[reason])


def deadline(observed: Observed) -> datetime | None:
    """Return when `activeDeadlineSeconds` runs out."""
    seconds = observed.job.spec.active_deadline_seconds
    created = parse_timestamp(observed.job.metadata.creation_timestamp)
    return None if seconds is None else created + timedelta(seconds=seconds)


def _invalid(message: str) -> Block:
    return Block("InvalidSpec", message, stalled=True)


def profile_is_known(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    name = observed.job.spec.placement.profile
    if observed.run or name in settings.profiles:
        return None
    known = ", ".join(f"`{p}`" for p in sorted(settings.profiles))
    return _invalid(f"spec.placement.profile: the operator has no profile `{name}`; choose one of {known}")


def model_is_there(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    reference, job = observed.job.spec.model_ref, observed.job
    if observed.run or reference is None or observed.model is not None:
        return None
    message = f"spec.modelRef: IaCModel `{reference.name}` does not exist in namespace `{job.metadata.namespace}`"
    if _is_new(job.metadata.creation_timestamp, now):
        return Block("Pending", message)
    return Block(FailureClass.MISSING_REFERENCE.value, f"{message}: create it, or make the job without `modelRef`")


def policies_agree(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    mine, model = observed.job.spec.policy, observed.model
    if observed.run or model is None or mine is None or model.policy is None or mine == model.policy:
        return None
    name = observed.job.spec.model_ref and observed.job.spec.model_ref.name
    return _invalid(f"spec.policy differs from the policy of IaCModel `{name}`: leave it out, or make both equal")


def base_is_the_live_one(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    live = observed.model.live if observed.model else None
    base, method = observed.job.spec.base_model.storage_uri, observed.job.spec.method
    if observed.run or live is None:
        return None
    if live.method is not method:
        return _invalid(
            f"spec.method is {method}, but the live version {live.version} was made by {live.method}: "
            "one engine cannot compare them; use that method, or another IaCModel"
        )
    if live.base_model_uri == base:
        return None
    return _invalid(
        f"spec.baseModel.storageUri is {base}, but the live version {live.version} stands on {live.base_model_uri}:"
        " one engine cannot compare them; use that base, or another IaCModel"
    )


def claims_are_there(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    if not observed.missing_claims:
        return None
    namespace = observed.job.metadata.namespace
    missing = ", ".join(observed.missing_claims)
    message = f"PersistentVolumeClaim {missing} does not exist in namespace `{namespace}`"
    return Block(
        FailureClass.VOLUME_NOT_BOUND.value, f"{message}: create it, or correct the field in a new FineTuneJob"
    )


def flux_sources_are_there(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    if observed.run or not observed.missing_flux:
        return None
    message = f"{', '.join(observed.missing_flux)} offers no artifact in namespace `{observed.job.metadata.namespace}`"
    hint = "create it, see why Flux does not fetch it, and let the operator read it (chart value `flux.enabled`)"
    return Block(FailureClass.MISSING_REFERENCE.value, f"{message}: {hint}")


def objects_are_accepted(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    reason = FailureClass.PODS_NOT_CREATED
    return _blocked(reason, observed.refused) if observed.refused else None


def pods_are_created(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    reason = FailureClass.PODS_NOT_CREATED
    return _blocked(reason, observed.pods_refused) if observed.pods_refused else None


def pods_find_a_node(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    for pod in _waiting_pods(observed):
        for found in pod.get("status", {}).get("conditions") or []:
            if (found["type"], found["status"]) == ("PodScheduled", "False") and found.get("message"):
                if _is_new(pod["metadata"]["creationTimestamp"], now):
                    continue
                volume = "volume" in found["message"].lower()
                reason = FailureClass.VOLUME_NOT_BOUND if volume else FailureClass.UNSCHEDULABLE
                return _blocked(reason, found["message"])
    return None


def containers_start(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    for pod in _waiting_pods(observed):
        for container in container_statuses(pod):
            waiting = container.get("state", {}).get("waiting") or {}
            told = f"container {container['name']}: {waiting.get('message') or waiting.get('reason')}"
            if waiting.get("reason") in NO_IMAGE:
                return _blocked(FailureClass.IMAGE_PULL_ERROR, told)
            if waiting.get("reason") in NO_CONTAINER:
                return _blocked(FailureClass.PODS_NOT_CREATED, told)
    return None


def sidecars_fit_their_memory(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    for pod in _waiting_pods(observed):
        killed = killed_of([c for c in sidecar_statuses(pod) if not _went_on(observed, pod, c)])
        if killed:
            told = f"{memory_words(killed)} and is started again"
            return Block(FailureClass.OUT_OF_MEMORY.value, f"{told} - {memory_hint(killed)}")
    return None


def sidecars_stay_up(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    for pod in _waiting_pods(observed):
        for container in container_statuses(pod):
            waiting = container.get("state", {}).get("waiting") or {}
            if waiting.get("reason") == "CrashLoopBackOff":
                ended = (container.get("lastState", {}).get("terminated") or {}).get("message") or ""
                last = clean(ended.strip().rpartition("\n")[2])
                told = f"container {container['name']} has ended {container.get('restartCount', 0)} times"
                where = f"kubectl logs {pod['metadata']['name']} -c {container['name']}"
                return Block(
                    FailureClass.SIDECAR_CRASHING.value, f"{told}: {last} - Read {where}, and check the profile."
                )
    return None


def _went_on(observed: Observed, pod: Object, sidecar: Object) -> bool:
    """Say whether the evaluator made progress after the sidecar was killed: it did without what was lost."""
    report, killed = observed.progress, (memory_kill(sidecar) or {}).get("finishedAt")
    if report is None or killed is None or report.pod_uid != pod["metadata"]["uid"]:
        return False
    return report.received > parse_timestamp(killed)


def _is_new(created: str, now: datetime) -> bool:
    return now - parse_timestamp(created) < SETTLING


def _blocked(reason: FailureClass, message: str) -> Block:
    return Block(reason.value, f"{clean(message)} - {HINTS[reason]}")


def _waiting_pods(observed: Observed) -> list[Object]:
    stage = observed.job.spec.next_stage(observed.job.status)
    return [p for p in observed.pods if stage_of(p) == stage and phase(p) in ("Pending", "Running")]


def deadline_is_over(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    end = deadline(observed)
    if end is None or now < end:
        return None
    seconds = observed.job.spec.active_deadline_seconds
    stage = observed.job.spec.next_stage(status)
    return failure(FailureClass.DEADLINE_EXCEEDED, f"{seconds} s after its creation the run was still in stage {stage}")


def no_restart_makes_progress(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    stops = [a for a in status.attempts if a.reason in RESTARTS][-RESTARTS_WITHOUT_PROGRESS:]
    steps = [a.resumed_from_step or 0 for a in stops]
    if len(steps) < RESTARTS_WITHOUT_PROGRESS or max(steps) > steps[0]:
        return None
    hint = "Find out what keeps stopping the pods, or lower `checkpoint.everySteps`, in a new FineTuneJob."
    message = f"{RESTARTS_WITHOUT_PROGRESS} restarts in a row began at step {steps[0]}"
    return failure(FailureClass.SAVED_AND_STOPPED, message, hint)


def reports_stay_lost(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    stage = observed.job.spec.next_stage(status)
    if stage is None or retry_of(status, stage) <= LOST_REPORTS:
        return None
    hint = "Check that the trainer image has the operator's version."
    return failure(FailureClass.LOST_REPORT, f"stage {stage} ended {LOST_REPORTS + 1} times without a report", hint)


def stage_job_failed(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    job = observed.stage_job
    failed = job and job_finished(job) and condition(job, "Failed")
    if not job or not failed:
        return None
    last = _last_attempt(status, stage_of(job))
    if last is None:
        return failure(FailureClass.TRAINER_ERROR, f"Job {job['metadata']['name']}: {failed.get('message', '')}")
    times = sum(a.stage == last.stage for a in status.attempts)
    count = f" (failed {times} times)" if times > 1 else ""
    return failure(FailureClass(last.reason), f"stage {last.stage}: {last.message}{count}", last.hint)


def _last_attempt(status: FineTuneJobStatus, stage: RunStage) -> AttemptStatus | None:
    return next((a for a in reversed(status.attempts) if a.stage == stage), None)


BLOCKS: tuple[Callable[[Observed, Settings, datetime], Block | None], ...] = (
    profile_is_known,
    model_is_there,
    policies_agree,
    base_is_the_live_one,
    claims_are_there,
    flux_sources_are_there,
    objects_are_accepted,
    pods_are_created,
    pods_find_a_node,
    containers_start,
    sidecars_fit_their_memory,
    sidecars_stay_up,
)
"""Why a run cannot go on now; the first that applies is told."""

FAILURES: tuple[Callable[[Observed, FineTuneJobStatus, datetime], Failure | None], ...] = (
    stage_job_failed,
    no_restart_makes_progress,
    reports_stay_lost,
    deadline_is_over,
)
"""Why a run has failed for good; the first that applies is told."""


def first_block(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    """Return the first reason why the run cannot go on now."""
    return next((b for rule in BLOCKS if (b := rule(observed, settings, now))), None)


def first_failure(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    """Return the first reason why the run has failed; `status` already holds this pass's attempts."""
    return next((f for rule in FAILURES if (f := rule(observed, status, now))), None)
