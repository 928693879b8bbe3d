"""Rules about a run: why it is blocked now (`BLOCKS`) and why it has failed for good (`FAILURES`). Pure.

The two tuples at the end are the specification; in each, the first rule that applies decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from loraform_api.failures import HINTS, UNCOUNTED, FailureClass
from loraform_api.finetunejob_status import AttemptStatus, FineTuneJobStatus
from loraform_api.meta import parse_timestamp
from loraform_api.names import RunStage
from loraform_operator.finetunejob.observe import Observed, job_finished, retry_of
from loraform_operator.finetunejob.reports import stage_of
from loraform_operator.finetunejob.spec_policies import Block, is_new, spec_can_be_served
from loraform_operator.kube.objects import Object, condition_of
from loraform_operator.pods.memory import memory_hint, oom_killed, oom_message, oom_termination
from loraform_operator.pods.probes import ENGINE_START_SECONDS
from loraform_operator.pods.status import phase, sidecar_statuses, unschedulable_message, waiting_containers
from loraform_operator.pods.text import clean
from loraform_operator.settings import Settings

RESTARTS_WITHOUT_PROGRESS = 20
RESTARTS = tuple(code.failure for code in UNCOUNTED)
LOST_REPORTS = 3
SIDECAR_START = timedelta(seconds=2 * ENGINE_START_SECONDS)
"""Most time from a pod's start until its sidecars have started; one that hangs is stopped after half of it."""
NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
NO_CONTAINER = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}


@dataclass(frozen=True)
class Failure:
    """Why the run has failed for good."""

    reason: FailureClass
    message: str
    """The cause and the next step."""


def failure(reason: FailureClass, message: str, hint: str | None = None) -> Failure:
    """Return a failure whose message ends in the hint of its class."""
    return Failure(reason, f"{clean(message)}. {hint or HINTS[reason]}" if message else hint or HINTS[reason])


def deadline(observed: Observed) -> datetime | None:
    """Return when `spec.activeDeadlineSeconds` ends, or None when it is not set."""
    seconds = observed.job.spec.active_deadline_seconds
    created = parse_timestamp(observed.job.metadata.creation_timestamp)
    return None if seconds is None else created + timedelta(seconds=seconds)


def claims_exist(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    if not observed.missing_claims:
        return None
    namespace = observed.job.metadata.namespace
    missing = ", ".join(observed.missing_claims)
    message = f"PersistentVolumeClaim {missing} does not exist in namespace `{namespace}`"
    return Block(
        FailureClass.VOLUME_NOT_BOUND.value, f"{message}: create it, or correct the field in a new FineTuneJob"
    )


def flux_sources_have_artifacts(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    if observed.run or not observed.missing_flux:
        return None
    message = f"{', '.join(observed.missing_flux)} has no artifact in namespace `{observed.job.metadata.namespace}`"
    hint = "create it, check why Flux does not fetch it, and allow the operator to read it (chart value `flux.enabled`)"
    return Block(FailureClass.MISSING_REFERENCE.value, f"{message}: {hint}")


def objects_are_accepted(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    reason = FailureClass.PODS_NOT_CREATED
    return _blocked(reason, observed.refused) if observed.refused else None


def pods_are_created(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    reason = FailureClass.PODS_NOT_CREATED
    return _blocked(reason, observed.pods_refused) if observed.pods_refused else None


def pods_are_scheduled(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    for pod in _waiting_pods(observed):
        message = unschedulable_message(pod)
        if message and not is_new(pod["metadata"]["creationTimestamp"], now):
            volume = "volume" in message.lower()
            return _blocked(FailureClass.VOLUME_NOT_BOUND if volume else FailureClass.UNSCHEDULABLE, message)
    return None


def containers_start(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    for pod in _waiting_pods(observed):
        for container in waiting_containers(pod):
            if container.reason in NO_IMAGE:
                return _blocked(FailureClass.IMAGE_PULL_ERROR, container.message)
            if container.reason in NO_CONTAINER:
                return _blocked(FailureClass.PODS_NOT_CREATED, container.message)
    return None


def sidecars_stay_within_memory(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    for pod in _waiting_pods(observed):
        killed = oom_killed([c for c in sidecar_statuses(pod) if not _progressed_since_kill(observed, pod, c)])
        if killed:
            message = f"{oom_message(killed)} and is being restarted"
            return Block(FailureClass.OUT_OF_MEMORY.value, f"{message} - {memory_hint(killed)}")
    return None


def sidecars_stay_up(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    for pod in _waiting_pods(observed):
        crashing = [c.status for c in waiting_containers(pod) if c.reason == "CrashLoopBackOff"]
        for container in [*crashing, *_restarted_before_start(pod)]:
            command = f"kubectl logs {pod['metadata']['name']} -c {container['name']}"
            message = f"{_ended(container)} - Read `{command}`, and check the profile."
            return Block(FailureClass.SIDECAR_CRASHING.value, message)
    return None


def _restarted_before_start(pod: Object) -> list[Object]:
    """Return the sidecars that have ended and not started since; the stage's own container waits for them."""
    if phase(pod) != "Pending":
        return []
    return [c for c in sidecar_statuses(pod) if c.get("restartCount") and not c.get("started")]


def _ended(container: Object) -> str:
    """Return how often a container has ended, with the last line of its log."""
    log = (container.get("lastState", {}).get("terminated") or {}).get("message") or ""
    last = clean(log.strip().rpartition("\n")[2])
    count = container.get("restartCount", 0)
    return f"container {container['name']} has exited {'once' if count == 1 else f'{count} times'}: {last}"


def _progressed_since_kill(observed: Observed, pod: Object, sidecar: Object) -> bool:
    """Say whether the evaluator made progress after the sidecar was killed, so that the kill no longer blocks it."""
    report, killed = observed.progress, (oom_termination(sidecar) or {}).get("finishedAt")
    if report is None or killed is None or report.pod_uid != pod["metadata"]["uid"]:
        return False
    return report.received > parse_timestamp(killed)


def _blocked(reason: FailureClass, message: str) -> Block:
    return Block(reason.value, f"{clean(message)} - {HINTS[reason]}")


def _waiting_pods(observed: Observed) -> list[Object]:
    stage = observed.job.spec.next_stage(observed.job.status)
    return [p for p in observed.pods if stage_of(p) == stage and phase(p) in ("Pending", "Running")]


def deadline_exceeded(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    end = deadline(observed)
    if end is None or now < end:
        return None
    seconds = observed.job.spec.active_deadline_seconds
    stage = observed.job.spec.next_stage(status)
    message = f"the run was still in stage {stage} {seconds} s after its creation (spec.activeDeadlineSeconds)"
    return failure(FailureClass.DEADLINE_EXCEEDED, message)


def restarts_make_no_progress(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    stops = [a for a in status.attempts if a.reason in RESTARTS][-RESTARTS_WITHOUT_PROGRESS:]
    steps = [a.resumed_from_step or 0 for a in stops]
    if len(steps) < RESTARTS_WITHOUT_PROGRESS or max(steps) > steps[0]:
        return None
    hint = "Find out what keeps stopping the pods, or lower `checkpoint.everySteps`, in a new FineTuneJob."
    message = f"{RESTARTS_WITHOUT_PROGRESS} restarts in a row made no progress beyond step {steps[0]}"
    return failure(FailureClass.SAVED_AND_STOPPED, message, hint)


def reports_stay_lost(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    stage = observed.job.spec.next_stage(status)
    if stage is None or retry_of(status, stage) <= LOST_REPORTS:
        return None
    hint = "Check that the trainer image has the operator's version."
    return failure(FailureClass.LOST_REPORT, f"stage {stage} ended {LOST_REPORTS + 1} times without a report", hint)


def stage_job_failed(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    job = observed.stage_job
    failed = job and job_finished(job) and condition_of(job, "Failed")
    if not job or not failed:
        return None
    last = _last_attempt(status, stage_of(job))
    if last is None:
        return failure(FailureClass.TRAINER_ERROR, f"Job {job['metadata']['name']}: {failed.get('message', '')}")
    times = sum(a.stage == last.stage for a in status.attempts)
    count = f" (failed {times} times)" if times > 1 else ""
    return failure(FailureClass(last.reason), f"stage {last.stage}: {last.message}{count}", last.hint)


def sidecars_start(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    hours = SIDECAR_START // timedelta(hours=1)
    for pod in _waiting_pods(observed):
        begun = pod["status"].get("startTime")
        late = begun is not None and now - parse_timestamp(begun) >= SIDECAR_START
        for container in _restarted_before_start(pod) if late else ():
            message = f"stage {stage_of(pod)}: {_ended(container)}; it has not started within {hours} h"
            killed = oom_killed([container])
            if killed:
                return failure(FailureClass.OUT_OF_MEMORY, f"{message} ({oom_message(killed)})", memory_hint(killed))
            return failure(FailureClass.SIDECAR_CRASHING, message)
    return None


def _last_attempt(status: FineTuneJobStatus, stage: RunStage) -> AttemptStatus | None:
    return next((a for a in reversed(status.attempts) if a.stage == stage), None)


BLOCKS: tuple[Callable[[Observed, Settings, datetime], Block | None], ...] = (
    spec_can_be_served,
    claims_exist,
    flux_sources_have_artifacts,
    objects_are_accepted,
    pods_are_created,
    pods_are_scheduled,
    containers_start,
    sidecars_stay_within_memory,
    sidecars_stay_up,
)
"""Why a run cannot continue now."""

FAILURES: tuple[Callable[[Observed, FineTuneJobStatus, datetime], Failure | None], ...] = (
    stage_job_failed,
    restarts_make_no_progress,
    reports_stay_lost,
    sidecars_start,
    deadline_exceeded,
)
"""Why a run has failed for good."""


def first_block(observed: Observed, settings: Settings, now: datetime) -> Block | None:
    """Return the first reason why the run cannot continue now."""
    return next((b for rule in BLOCKS if (b := rule(observed, settings, now))), None)


def first_failure(observed: Observed, status: FineTuneJobStatus, now: datetime) -> Failure | None:
    """Return the first reason why the run has failed; `status` already has the attempts of this reconcile."""
    return next((f for rule in FAILURES if (f := rule(observed, status, now))), None)
