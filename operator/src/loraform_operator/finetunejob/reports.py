"""What finished pods left behind: reports from termination messages, and attempts with their failure class. Pure."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from loraform_api.failures import HINTS, ExitCode, FailureClass
from loraform_api.finetunejob_status import AttemptStatus
from loraform_api.names import LABEL_STAGE, RunStage
from loraform_api.run import StageReport
from loraform_operator.pods.memory import killed_of, memory_hint, memory_words

Object = dict[str, Any]

MESSAGE_LIMIT = 1000
SECRETS = re.compile(
    r"(?P<keep>\b(?:bearer|basic)\s+|(?:password|passwd|secret|token|api[_-]?key)['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&]+"
    r"|(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@"
    r"|\b(?:hf_[A-Za-z0-9]{10,}|gh[a-z]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|eyJ[\w-]{10,}\.[\w-]+\.[\w-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.IGNORECASE,
)


def clean(text: str) -> str:
    """Make foreign text fit for status and events: one printable line, without anything that looks like a secret."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = SECRETS.sub(lambda m: (m["keep"] or m["scheme"] or "") + "[redacted]", line)
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def stage_of(obj: Object) -> RunStage:
    """Return the stage that a Job or pod of ours belongs to."""
    return RunStage(obj["metadata"]["labels"][LABEL_STAGE])


def phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def rank(pod: Object) -> int:
    """Return the number of a train pod among several; 0 is the one that reports for all."""
    return int(pod["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index", 0))


def condition(obj: Object, type_: str) -> Object | None:
    """Return the condition of a Job or pod that has this type and is True."""
    found = (c for c in obj.get("status", {}).get("conditions") or [] if c["type"] == type_ and c["status"] == "True")
    return next(found, None)


def sidecar_statuses(pod: Object) -> list[Object]:
    """Return the status of engine and verifier; empty when the stage has none."""
    return list(pod.get("status", {}).get("initContainerStatuses") or [])


def container_statuses(pod: Object) -> list[Object]:
    """Return the status of all containers, sidecars first."""
    return [*sidecar_statuses(pod), *(pod.get("status", {}).get("containerStatuses") or [])]


def terminated(pod: Object) -> Object:
    """Return how the stage's own container ended; empty when it did not, or is not told."""
    stage = stage_of(pod)
    mine = (c for c in container_statuses(pod) if c["name"] == stage)
    ended: Object = next(mine, {}).get("state", {}).get("terminated") or {}
    return ended


def read_report(pod: Object) -> StageReport | None:
    """Return the report in the pod's termination message, or None when there is no readable one."""
    try:
        report = StageReport.model_validate_json(terminated(pod).get("message") or "")
    except ValidationError:
        return None
    return report if report.stage == stage_of(pod) else None


def failed_attempt(pod: Object) -> AttemptStatus:
    """Describe a pod that ended in phase Failed."""
    report, ended = read_report(pod), terminated(pod)
    failure = _failure_class(pod, report, ended)
    code = ended.get("exitCode")
    return AttemptStatus(
        stage=stage_of(pod),
        pod=pod["metadata"]["name"],
        reason=failure.value,
        exit_code=code if code is not None and -1 <= code <= 255 else None,
        message=clean(_words(pod, failure, report, code)),
        hint=memory_hint(_killed(pod)) if failure is FailureClass.OUT_OF_MEMORY else HINTS[failure],
        resumed_from_step=report.resumed_from_step if report else None,
        finish_time=finish_time(pod),
    )


def lost_attempt(job: Object, pod: Object | None, finish: str) -> AttemptStatus:
    """Describe a Job that completed without leaving a readable report."""
    return AttemptStatus(
        stage=stage_of(job),
        pod=(pod or job)["metadata"]["name"],
        reason=FailureClass.LOST_REPORT.value,
        message="the stage ended well, but " + ("its report is unreadable" if pod else "its pod is gone"),
        hint=HINTS[FailureClass.LOST_REPORT],
        finish_time=finish,
    )


def finish_time(pod: Object) -> str:
    """Return when the pod ended, as well as its status tells."""
    ended = terminated(pod).get("finishedAt")
    return str(
        ended
        or (condition(pod, "DisruptionTarget") or {}).get("lastTransitionTime")
        or pod["metadata"]["creationTimestamp"]
    )


def _failure_class(pod: Object, report: StageReport | None, ended: Object) -> FailureClass:
    own = _own_class(report, ended)
    if own not in (None, FailureClass.TRAINER_ERROR):
        return own
    # a stage that says no more than that something went wrong may not know what: a killed engine just does not answer
    if pod.get("status", {}).get("reason") == "Evicted" or condition(pod, "DisruptionTarget"):
        return FailureClass.EVICTED
    if _killed(pod):
        return FailureClass.OUT_OF_MEMORY
    return FailureClass.TRAINER_ERROR if own or ended else FailureClass.LOST_REPORT


def _own_class(report: StageReport | None, ended: Object) -> FailureClass | None:
    """Return the class that the stage itself gave, by its report or its exit code."""
    if report is not None and report.exit_code.failure is not None:
        return report.exit_code.failure
    code = ended.get("exitCode")
    return ExitCode(code).failure if code in set(ExitCode) else None


def _killed(pod: Object) -> list[str]:
    return killed_of(container_statuses(pod))


def _words(pod: Object, failure: FailureClass, report: StageReport | None, code: int | None) -> str:
    cause, told = _cause(pod, failure), report.message if report else ""
    if cause and told:
        return f"{cause}; {stage_of(pod)} said: {told}"
    if cause or told:
        return cause or told
    if code is None:
        return str(pod.get("status", {}).get("message") or "the pod ended and does not say how")
    return f"container {stage_of(pod)} exited with code {code} and left no readable report"


def _cause(pod: Object, failure: FailureClass) -> str:
    """Return what Kubernetes knows of the failure and the stage does not."""
    if failure is FailureClass.EVICTED:
        told = pod.get("status", {}).get("message") or (condition(pod, "DisruptionTarget") or {}).get("message")
        return str(told or "evicted")
    return memory_words(_killed(pod)) if failure is FailureClass.OUT_OF_MEMORY else ""
