"""Progress that running stages reported: memory only, the newest message of each run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from loraform_api.run import TrainerStatus

JobKey = tuple[str, str]
"""Namespace and name of a FineTuneJob."""


@dataclass(frozen=True)
class Report:
    status: TrainerStatus
    pod_uid: str
    received: datetime


@dataclass
class ProgressStore:
    _reports: dict[JobKey, Report] = field(default_factory=dict)

    def record(self, key: JobKey, report: Report) -> None:
        self._reports[key] = report

    def get(self, key: JobKey) -> Report | None:
        return self._reports.get(key)

    def forget(self, key: JobKey) -> None:
        """Drop what is known of a run that ended or is gone."""
        self._reports.pop(key, None)
