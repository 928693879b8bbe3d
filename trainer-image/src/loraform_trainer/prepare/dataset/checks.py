"""The checks of a row by itself, in their order: typography, syntax, secrets, validity, policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraform_api.dataset import DatasetChecks, OnFinding, PolicyTeaching
from loraform_api.verification import HousePolicy
from loraform_trainer.prepare.dataset import dropped as names
from loraform_trainer.prepare.dataset.canonical import normal_form, tree_of
from loraform_trainer.prepare.dataset.dropped import Ledger
from loraform_trainer.prepare.dataset.policy_rows import Teacher
from loraform_trainer.prepare.dataset.secret_values import secret_in
from loraform_trainer.prepare.dataset.typography import damage
from loraform_trainer.prepare.dataset.validity import Validity
from loraform_trainer.runtime.rows import Row
from loraform_verifier.hcl.parse import Document, parse

MAX_TYPES = 50
"""Different resource types of one program that are counted."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A row that nothing by itself speaks against, with its answer as it is taught."""

    row: Row
    program: bytes
    """The answer's normal form."""
    types: tuple[str, ...]
    """Types of the answer's resources, each once for each resource."""
    undecided: str | None
    """Why nobody can say whether it is valid."""


class Checks:
    """The checks that a spec asks of each row."""

    def __init__(self, checks: DatasetChecks, policy: HousePolicy | None, validity: Validity | None) -> None:
        """Without a `validity` nothing is validated, whatever the spec says."""
        self._checks = checks
        self._teacher = Teacher(policy or HousePolicy(), checks.policy if policy else PolicyTeaching.OFF)
        self._validity = validity if checks.validity is not OnFinding.OFF else None

    def passed(self, rows: Sequence[Row], ledger: Ledger) -> list[Passed]:
        """Return the rows that stay, and count the others."""
        read = []
        for row in rows:
            document = parse(row.response)
            objection = self._objection(row, document)
            if objection is None:
                read.append((row, document))
            else:
                ledger.drop(objection[0], f"{row.id}: {objection[1]}")
        kept = [
            self._taught(row, document, undecided, ledger) for row, document, undecided in self._valid(read, ledger)
        ]
        return [row for row in kept if row is not None]

    def _objection(self, row: Row, document: Document) -> tuple[str, str] | None:
        off = OnFinding.OFF
        if document.problems:
            found = damage(row.response) if self._checks.typography is not off else None
            if found is not None:
                return names.TYPOGRAPHY, found
            if self._checks.syntax is not off:
                first = document.problems[0]
                return names.SYNTAX_ERROR, f"the response is not Terraform, line {first.line}: {first.message}"
        elif not document.blocks and self._checks.syntax is not off:
            return names.SYNTAX_ERROR, "the response has no block"
        if self._checks.secrets is not off:
            found = secret_in(row)
            if found is not None:
                return names.SECRETS, found
        return None

    def _valid(self, read: list[tuple[Row, Document]], ledger: Ledger) -> list[tuple[Row, Document, str | None]]:
        if self._validity is None or not read:
            return [(row, document, None) for row, document in read]
        valid = []
        findings = self._validity.findings([row.response for row, _ in read])
        for (row, document), finding in zip(read, findings, strict=True):
            if finding is None or finding.undecided:
                valid.append((row, document, finding.reason if finding else None))
            else:
                ledger.drop(names.INVALID, f"{row.id}: {finding.reason}")
        return valid

    def _taught(self, row: Row, document: Document, undecided: str | None, ledger: Ledger) -> Passed | None:
        types = tuple(block.labels[0][:64] for block in document.resources())[:MAX_TYPES]
        if document.problems:  # kept by the spec's will; nothing can be read off it
            return Passed(row, b" ".join(row.response.encode().split()), types, undecided)
        objection = self._teacher.objection(document)
        if objection is not None:
            ledger.drop(names.POLICY, f"{row.id}: {objection}")
            return None
        taught = self._teacher.taught(document)
        if taught is None or taught == row.response:
            return Passed(row, normal_form(document.source, document.root), types, undecided)
        program = normal_form(taught.encode("utf-8"), tree_of(taught))
        return Passed(row.with_response(taught), program, types, undecided)
