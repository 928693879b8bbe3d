"""The checks that look at one row at a time, in their order: typography, syntax, secrets, validity, policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraform_api.dataset import DatasetChecks, OnFinding, PolicyTeaching
from loraform_api.verification import HousePolicy
from loraform_trainer.prepare.dataset import drop_counts
from loraform_trainer.prepare.dataset.canonical import normal_form, tree_of
from loraform_trainer.prepare.dataset.drop_counts import DropCounts
from loraform_trainer.prepare.dataset.policy_rows import PolicyTeacher
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.secret_values import secret_in
from loraform_trainer.prepare.dataset.typography import damage
from loraform_trainer.prepare.dataset.validity import ValidityCheck
from loraform_verifier.hcl.parse import Document, parse

MAX_TYPES = 50
"""Resources of one program whose types are counted."""


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row that passed all checks of single rows, with its response as it is trained on."""

    row: TrainingRow
    program: bytes
    """Normal form of the response."""
    types: tuple[str, ...]
    """Resource type of each resource of the response, with repeats."""
    undecided: str | None
    """Why the verifier could not decide whether it is valid; None when it is valid or was not validated."""


class RowChecks:
    """The checks of single rows that a spec enables."""

    def __init__(self, checks: DatasetChecks, policy: HousePolicy | None, validity: ValidityCheck | None) -> None:
        """Without `validity` no program is validated, whatever the spec says."""
        self._checks = checks
        self._teacher = PolicyTeacher(policy or HousePolicy(), checks.policy if policy else PolicyTeaching.OFF)
        self._validity = validity if checks.validity is not OnFinding.OFF else None

    def passing_rows(self, rows: Sequence[TrainingRow], drops: DropCounts) -> list[CheckedRow]:
        """Return the rows that pass, and count the others in `drops`; raises the errors of the validity check."""
        parsed = []
        for row in rows:
            document = parse(row.response)
            finding = self._finding(row, document)
            if finding is None:
                parsed.append((row, document))
            else:
                check, reason = finding
                drops.add(check, f"{row.id}: {reason}")
        valid = self._valid_rows(parsed, drops)
        checked = [self._with_policy(row, document, undecided, drops) for row, document, undecided in valid]
        return [row for row in checked if row is not None]

    def _finding(self, row: TrainingRow, document: Document) -> tuple[str, str] | None:
        """Return the first check that the row fails and the reason; None when it passes."""
        off = OnFinding.OFF
        if document.problems:
            reason = damage(row.response) if self._checks.typography is not off else None
            if reason is not None:
                return drop_counts.TYPOGRAPHY, reason
            if self._checks.syntax is not off:
                first = document.problems[0]
                return drop_counts.SYNTAX_ERROR, f"the response is not Terraform, line {first.line}: {first.message}"
        elif not document.blocks and self._checks.syntax is not off:
            return drop_counts.SYNTAX_ERROR, "the response has no block"
        if self._checks.secrets is not off:
            reason = secret_in(row)
            if reason is not None:
                return drop_counts.SECRETS, reason
        return None

    def _valid_rows(
        self, parsed: list[tuple[TrainingRow, Document]], drops: DropCounts
    ) -> list[tuple[TrainingRow, Document, str | None]]:
        """Return the rows that are valid or undecided, the latter with the reason."""
        if self._validity is None or not parsed:
            return [(row, document, None) for row, document in parsed]
        valid = []
        findings = self._validity.findings([row.response for row, _ in parsed])
        for (row, document), finding in zip(parsed, findings, strict=True):
            if finding is None or finding.undecided:
                valid.append((row, document, finding.reason if finding else None))
            else:
                drops.add(drop_counts.INVALID, f"{row.id}: {finding.reason}")
        return valid

    def _with_policy(
        self, row: TrainingRow, document: Document, undecided: str | None, drops: DropCounts
    ) -> CheckedRow | None:
        """Return the row with the house policy written into its response; None when it violates the policy."""
        types = tuple(block.labels[0][:64] for block in document.resources())[:MAX_TYPES]
        if document.problems:  # kept because `checks.syntax` is Off; it has no normal form
            return CheckedRow(row, b" ".join(row.response.encode().split()), types, undecided)
        violation = self._teacher.violation(document)
        if violation is not None:
            drops.add(drop_counts.POLICY, f"{row.id}: {violation}")
            return None
        rewritten = self._teacher.rewritten(document)
        if rewritten is None or rewritten == row.response:
            return CheckedRow(row, normal_form(document.source, document.root), types, undecided)
        program = normal_form(rewritten.encode("utf-8"), tree_of(rewritten))
        return CheckedRow(row.with_response(rewritten), program, types, undecided)
