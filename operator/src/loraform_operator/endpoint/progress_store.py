"""Stores the last progress report of each run, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from loraform_api.run import TrainerStatus

JobKey = tuple[str, str]
"""Namespace and name of a FineTuneJob."""


@dataclass(frozen=True)
class ProgressReport:
    """Progress that a stage reported, with its pod and the time of arrival."""

    status: TrainerStatus
    pod_uid: str
    received: datetime


@dataclass
class ProgressStore:
    """The last progress report by run."""

    _reports: dict[JobKey, ProgressReport] = field(default_factory=dict)

    def record(self, key: JobKey, report: ProgressReport) -> None:
        self._reports[key] = report

    def get(self, key: JobKey) -> ProgressReport | None:
        return self._reports.get(key)

    def forget(self, key: JobKey) -> None:
        """Drop the report of a run that ended or was deleted."""
        self._reports.pop(key, None)
