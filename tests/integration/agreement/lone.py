"""What terraform says of one program that is the root module itself: no batch, no other programs.

This is the oracle: it reads terraform's output by itself and shares with the verifier only how a program is made ready.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loraform_api.verification import Program
from loraform_verifier.hcl.configuration import read_program
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.hcl.normalise import Normalised, normalise
from loraform_verifier.sandbox import isolation
from loraform_verifier.schema.settings import settings_errors
from loraform_verifier.terraform.plannable import ProviderSettings
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform, child_environment
from loraform_verifier.terraform.workspace import OUR_FILE, lay_out_alone

from ..lone_plan import lay_out_plan_alone

SECONDS = 300
PLAN_FILE = "plan.bin"
PROVIDER_LOST = (b"Plugin did not respond", b"Plugin error", b"Failed to load plugin schemas", b"Failed to instantiate")
"""What terraform says when the kept provider is gone: nothing about the program."""
Places = set[tuple[str | None, int | None, str]]
"""File, line and summary of each error."""


@dataclass(frozen=True)
class Verdict:
    """What terraform says of one program."""

    errors: Places
    changes: str | None = None
    """Digest of what would be changed; None where nothing was planned."""
    plan: dict[str, Any] | None = field(default=None, compare=False)
    """As terraform shows it."""

    @property
    def valid(self) -> bool:
        return not self.errors


def ready(program: Program, terraform: Terraform) -> Normalised:
    """Return a program as terraform is given it; one that is refused without terraform as it is."""
    configuration = read_program(program)
    modules = modules_of(configuration, terraform.registry, None)
    if configuration.problems or settings_errors(configuration, modules):
        texts = {name: document.source for name, document in configuration.documents.items()}
        return Normalised(texts, frozenset(), calls=tuple(call.entry for call in modules.calls))
    return normalise(configuration, modules)


def validated(program: Normalised, terraform: Terraform, keeper: ProviderServers) -> Verdict:
    """Run `terraform validate`."""
    with isolation.private_folder() as root:
        lay_out_alone(root, terraform, program)
        if not program.providers:
            (root / OUR_FILE).unlink()  # beside settings of the program's own ours are a second time
        finished = _run(root, ["validate", "-json", "-no-color"], program, terraform, keeper)
        answer = json.loads(finished.stdout)
    verdict = Verdict(_places(answer["diagnostics"]))
    assert answer["valid"] == verdict.valid
    return verdict


def planned(program: Normalised, settings: ProviderSettings, terraform: Terraform, keeper: ProviderServers) -> Verdict:
    """Run `terraform plan` with the provider set as the program sets it."""
    with isolation.private_folder() as root:
        aws = {"region": settings.region, "default_tags": [{"tags": settings.default_tags}], "max_retries": 1}
        lay_out_plan_alone(root, terraform, program, **aws)
        words = ["plan", "-json", "-no-color", "-input=false", "-lock=false", "-refresh=false", f"-out={PLAN_FILE}"]
        finished = _run(root, words, program, terraform, keeper)
        messages = [json.loads(line) for line in finished.stdout.splitlines()]
        errors = _places([m["diagnostic"] for m in messages if m["type"] == "diagnostic"])
        assert (finished.returncode == 0) == (not errors), finished
        if errors:
            return Verdict(errors)
        shown = _run(root, ["show", "-json", "-no-color", PLAN_FILE], program, terraform, keeper)
    plan = json.loads(shown.stdout)
    return Verdict(set(), digest_of(plan), plan)


def digest_of(plan: dict[str, Any]) -> str:
    """Return one word for all that a plan would do: equal only where addresses, actions and values are."""
    changes = [
        (c["address"], c["mode"], c["change"]["actions"], c["change"].get("after"), c["change"].get("after_unknown"))
        for c in plan.get("resource_changes", ())
    ]
    text = json.dumps(sorted(changes, key=lambda change: change[0]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _run(
    root: Path, words: list[str], program: Normalised, terraform: Terraform, keeper: ProviderServers
) -> isolation.Finished:
    command, alone = [str(terraform.binary), *words], child_environment(root)
    env = alone | keeper.environment(program.needs)
    readable = terraform.readable
    finished = isolation.run(command, cwd=root, env=env, seconds=SECONDS, readable=readable)
    if any(lost in finished.stdout for lost in PROVIDER_LOST):
        keeper.drop()
        finished = isolation.run(command, cwd=root, env=alone, seconds=SECONDS, readable=readable)
    assert not finished.timed_out
    return finished


def _places(diagnostics: list[dict[str, Any]]) -> Places:
    found: Places = set()
    for diagnostic in diagnostics:
        if diagnostic["severity"] == "error":
            place = diagnostic.get("range") or {}
            file = place.get("filename")
            if not file or file.endswith(OUR_FILE):
                found.add((None, None, diagnostic["summary"]))
            else:
                found.add((file, place["start"]["line"], diagnostic["summary"]))
    return found
