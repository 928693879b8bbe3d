"""The order of the runs of a request; what terraform finds is in `tests/integration/test_verifier_validate.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loraform_verifier.hcl.configuration import single_file
from loraform_verifier.hcl.normalise import Normalised, normalise
from loraform_verifier.sandbox import isolation
from loraform_verifier.sandbox.isolation import Finished
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator
from loraform_verifier.terraform.workspace import CANARY

PLAIN = "locals {\n  a = 1\n}\n"
ALONE = 'variable "p" {\n  sensitive = true\n}\noutput "o" {\n  value = var.p\n}\n'


def program(text: str) -> Normalised:
    return normalise(single_file(text))


def test_programs_that_run_alone_use_up_no_time_of_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs = []

    def mock_terraform(command: list[str], *, cwd: Path, **_: Any) -> Finished:
        in_company = (cwd / CANARY).is_dir()
        runs.append("together" if in_company else "alone")
        canary = {"severity": "error", "summary": "canary", "range": {"filename": f"{CANARY}/main.tf"}}
        return Finished(0, json.dumps({"diagnostics": [canary] if in_company else []}).encode(), b"")

    monkeypatch.setattr(isolation, "run", mock_terraform)
    validator = Validator(Terraform(tmp_path / "terraform", "Terraform", "1.11.4", ()))
    outcomes = validator.validate([program(ALONE), program(PLAIN), program(ALONE), program(PLAIN)])
    assert runs == ["together", "alone", "alone"]
    assert [(outcome.errors, outcome.undecided) for outcome in outcomes] == [([], None)] * 4
