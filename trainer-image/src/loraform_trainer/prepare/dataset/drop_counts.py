"""Counts the rows that each check drops, keeps examples, and decides whether the data set is refused."""

from __future__ import annotations

from dataclasses import dataclass, field

from loraform_api.dataset import DatasetSpec, OnFinding
from loraform_trainer.prepare.dataset.secret_values import mask

INVALID_ROW = "InvalidRow"
TYPOGRAPHY = "Typography"
SYNTAX_ERROR = "SyntaxError"
SECRETS = "Secrets"
INVALID = "Invalid"
POLICY = "Policy"
DUPLICATE = "Duplicate"
NEAR_DUPLICATE = "NearDuplicate"
IN_SUITE = "InSuite"
TOO_LONG = "TooLong"
CHECKS = (
    INVALID_ROW, TYPOGRAPHY, SYNTAX_ERROR, SECRETS, INVALID, POLICY, DUPLICATE, NEAR_DUPLICATE, IN_SUITE, TOO_LONG,
)  # fmt: skip
"""The checks in their order: a row counts for the first one that drops it."""
MAX_EXAMPLES = 5
"""Examples for each check."""
MAX_EXAMPLE = 240
"""Characters of an example in the report."""
MAX_IN_MESSAGE = 120
"""Characters of an example in an error message, which names several checks."""


def on_finding_fields(spec: DatasetSpec) -> dict[str, tuple[str, OnFinding]]:
    """Return, by check, the field below `spec.dataset` that sets what a finding means, and its value."""
    checks = spec.checks
    return {
        TYPOGRAPHY: ("checks.typography", checks.typography),
        SYNTAX_ERROR: ("checks.syntax", checks.syntax),
        SECRETS: ("checks.secrets", checks.secrets),
        INVALID: ("checks.validity", checks.validity),
        DUPLICATE: ("deduplicate.exact", spec.deduplicate.exact),
        NEAR_DUPLICATE: ("deduplicate.near", spec.deduplicate.near),
        IN_SUITE: ("decontaminate.suites", spec.decontaminate.suites),
        TOO_LONG: ("checks.overLong", checks.over_long),
    }


@dataclass
class DropCounts:
    """Rows read, and rows dropped by each check with the first examples, from which secrets are removed."""

    read: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, check: str, example: str) -> None:
        """Count one row that `check` drops; `example` is the row's id and the reason."""
        self.dropped[check] = self.dropped.get(check, 0) + 1
        examples = self.examples.setdefault(check, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(shortened(mask(example), MAX_EXAMPLE))

    def summary(self) -> str:
        """Return the counts in one line, the largest first, each with its first example."""
        largest = sorted(self.dropped.items(), key=lambda item: -item[1])
        parts = [f"{name} {n} (first: {shortened(self.examples[name][0], MAX_IN_MESSAGE)})" for name, n in largest]
        return "; ".join(parts) or "none"

    def refusal(self, spec: DatasetSpec, kept: int, train: int) -> str | None:
        """Return why the data set is refused: a check set to Fail found rows, or too few remain. None: it is not."""
        for check, (name, mode) in on_finding_fields(spec).items():
            if mode is OnFinding.FAIL and check in self.dropped:
                return (
                    f"spec.dataset.{name} is Fail, and {self.dropped[check]} of {self.read} rows failed check {check}; "
                    f"first: {self.examples[check][0]}"
                )
        if kept < spec.min_rows or train == 0:
            return (
                f"{kept} of {self.read} rows remain, {train} of them for training; spec.dataset.minRows is "
                f"{spec.min_rows}. Dropped: {self.summary()}"
            )
        dropped, limit = sum(self.dropped.values()), spec.checks.max_dropped_percent
        if dropped * 100 > limit * self.read:
            return (
                f"{dropped} of {self.read} rows were dropped, more than the {limit} % of spec.dataset.checks."
                f"maxDroppedPercent: {self.summary()}"
            )
        return None


def shortened(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 2]} …"
