"""Reads reports from the termination messages of finished pods, and describes failed attempts. Pure."""

from __future__ import annotations

from pydantic import ValidationError

from loraform_api.failures import HINTS, ExitCode, FailureClass
from loraform_api.finetunejob_status import AttemptStatus
from loraform_api.names import LABEL_STAGE, RunStage
from loraform_api.run import StageReport
from loraform_operator.kube.objects import Object, condition_of
from loraform_operator.pods.memory import memory_hint, oom_killed, oom_message
from loraform_operator.pods.status import container_statuses
from loraform_operator.pods.text import clean


def stage_of(obj: Object) -> RunStage:
    """Return the stage of a Job or pod of a run."""
    return RunStage(obj["metadata"]["labels"][LABEL_STAGE])


def completion_index(pod: Object) -> int:
    """Return the completion index of a train pod; the pod with index 0 reports for all."""
    return int(pod["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index", 0))


def terminated(pod: Object) -> Object:
    """Return the `terminated` state of the stage's container; empty when it has none."""
    stage = stage_of(pod)
    container: Object = next((c for c in container_statuses(pod) if c["name"] == stage), {})
    return container.get("state", {}).get("terminated") or {}


def read_report(pod: Object) -> StageReport | None:
    """Return the report in the pod's termination message, or None when it is missing or invalid."""
    try:
        report = StageReport.model_validate_json(terminated(pod).get("message") or "")
    except ValidationError:
        return None
    return report if report.stage == stage_of(pod) else None


def failed_attempt(pod: Object) -> AttemptStatus:
    """Describe a pod in phase Failed."""
    report, ended = read_report(pod), terminated(pod)
    failure = _failure_class(pod, report, ended)
    code = ended.get("exitCode")
    return AttemptStatus(
        stage=stage_of(pod),
        pod=pod["metadata"]["name"],
        reason=failure.value,
        exit_code=code if code is not None and -1 <= code <= 255 else None,
        message=clean(_message(pod, failure, report, code)),
        hint=memory_hint(_killed(pod)) if failure is FailureClass.OUT_OF_MEMORY else HINTS[failure],
        resumed_from_step=report.resumed_from_step if report else None,
        finish_time=finish_time(pod),
    )


def lost_attempt(job: Object, pod: Object | None, finish: str) -> AttemptStatus:
    """Describe a Job that completed without a readable report."""
    return AttemptStatus(
        stage=stage_of(job),
        pod=(pod or job)["metadata"]["name"],
        reason=FailureClass.LOST_REPORT.value,
        message="the stage succeeded, but " + ("its report is unreadable" if pod else "its pod no longer exists"),
        hint=HINTS[FailureClass.LOST_REPORT],
        finish_time=finish,
    )


def finish_time(pod: Object) -> str:
    """Return when the pod ended: when its container did, else when its disruption or creation was recorded."""
    ended = terminated(pod).get("finishedAt")
    return str(
        ended
        or (condition_of(pod, "DisruptionTarget") or {}).get("lastTransitionTime")
        or pod["metadata"]["creationTimestamp"]
    )


def _failure_class(pod: Object, report: StageReport | None, ended: Object) -> FailureClass:
    own = _own_class(report, ended)
    if own not in (None, FailureClass.TRAINER_ERROR):
        return own
    # A TrainerError may be a symptom: to the stage, an engine that was killed is one that does not answer.
    if pod.get("status", {}).get("reason") == "Evicted" or condition_of(pod, "DisruptionTarget"):
        return FailureClass.EVICTED
    if _killed(pod):
        return FailureClass.OUT_OF_MEMORY
    return FailureClass.TRAINER_ERROR if own or ended else FailureClass.LOST_REPORT


def _own_class(report: StageReport | None, ended: Object) -> FailureClass | None:
    """Return the class that the stage gave in its report, or by its exit code."""
    if report is not None and report.exit_code.failure is not None:
        return report.exit_code.failure
    code = ended.get("exitCode")
    return ExitCode(code).failure if code in set(ExitCode) else None


def _killed(pod: Object) -> list[str]:
    return oom_killed(container_statuses(pod))


def _message(pod: Object, failure: FailureClass, report: StageReport | None, code: int | None) -> str:
    cause, reported = _cause(pod, failure), report.message if report else ""
    if cause and reported:
        return f"{cause}; {stage_of(pod)} reported: {reported}"
    if cause or reported:
        return cause or reported
    if code is None:
        return str(pod.get("status", {}).get("message") or "the pod failed without a message")
    return f"container {stage_of(pod)} exited with code {code} and left no readable report"


def _cause(pod: Object, failure: FailureClass) -> str:
    """Return what Kubernetes reports about the failure; empty when only the stage knows the cause."""
    if failure is FailureClass.EVICTED:
        message = pod.get("status", {}).get("message") or (condition_of(pod, "DisruptionTarget") or {}).get("message")
        return str(message or "evicted")
    return oom_message(_killed(pod)) if failure is FailureClass.OUT_OF_MEMORY else ""
