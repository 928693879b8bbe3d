"""What became of the rows: how many each check dropped, with examples, and whether that is still a data set."""

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
"""In their order: a row counts for the first that objects to it."""
MAX_EXAMPLES = 5
MAX_EXAMPLE = 240
IN_MESSAGE = 120
"""Characters of an example in an error's message, which names several checks."""


def fields(spec: DatasetSpec) -> dict[str, tuple[str, OnFinding]]:
    """Return, for the checks that can be told to fail, the field that tells them and its value."""
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
class Ledger:
    """Rows read, and those dropped by check with the first examples, which hold no secret."""

    read: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, check: str, example: str) -> None:
        """Count one row dropped by `check`."""
        self.dropped[check] = self.dropped.get(check, 0) + 1
        examples = self.examples.setdefault(check, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(shortened(mask(example), MAX_EXAMPLE))

    def counts(self) -> dict[str, int]:
        """Return `Read` and the checks that dropped some, in their order."""
        return {"Read": self.read, **{check: self.dropped[check] for check in CHECKS if check in self.dropped}}

    def summary(self) -> str:
        """Return the drops in one line, the largest first, with the first example of each."""
        largest = sorted(self.dropped.items(), key=lambda item: -item[1])
        parts = [f"{name} {n} (first: {shortened(self.examples[name][0], IN_MESSAGE)})" for name, n in largest]
        return "; ".join(parts) or "none"

    def refusal(self, spec: DatasetSpec, kept: int, train: int) -> str | None:
        """Say why the rows are no data set: a check that is to fail found some, or too few remain. None: they are."""
        for check, (name, mode) in fields(spec).items():
            if mode is OnFinding.FAIL and check in self.dropped:
                return (
                    f"spec.dataset.{name} is Fail, and {self.dropped[check]} of {self.read} rows are {check}; "
                    f"first: {self.examples[check][0]}"
                )
        if kept < spec.min_rows or train == 0:
            return (
                f"{kept} of {self.read} rows remain, of them {train} for training; spec.dataset.minRows asks for "
                f"{spec.min_rows}. Dropped: {self.summary()}"
            )
        lost, most = sum(self.dropped.values()), spec.checks.max_dropped_percent
        if lost * 100 > most * self.read:
            return (
                f"{lost} of {self.read} rows were dropped, more than the {most} % of spec.dataset.checks."
                f"maxDroppedPercent: {self.summary()}"
            )
        return None


def shortened(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 2]} …"
