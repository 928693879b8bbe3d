"""Rego policies evaluated on plans: intents of suite rows, policy packs and the bundled security rules.

Policies come from data sets and ConfigMaps, so the engine never runs in this process: one confined child (`rego.child`)
evaluates a batch of queries, and this module turns its answers into diagnostics. They never quote a policy.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.parse import Document
from loraform_verifier.rego import child
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import DEADLINES
from loraform_verifier.terraform.plan_json import without_keys

LOST = ("RegoTimeout", "RegoCrashed")
"""Codes of queries without an answer; those before them in the same call may be the cause."""
_RESERVED = 264 * 1024 * isolation.MIB
LIMITS = isolation.Limits(data=_RESERVED, address_space=_RESERVED, fsize=128 * isolation.MIB, nofile=64)
"""The engine's allocator reserves 256 GiB and fails otherwise; `rego.child` bounds the memory that is used."""


class PolicyKind(StrEnum):
    """How the value of a policy is interpreted."""

    INTENT = "intent"
    """As in IaC-Eval: `data` must hold a boolean, and none that is false."""
    PACK = "pack"
    """As in conftest: findings are the members of `deny`, `violation` and `warn` of any package."""


@dataclass(frozen=True, slots=True)
class PolicyQuery:
    """Policies to evaluate on one plan."""

    kind: PolicyKind
    policies: tuple[str, ...]
    """Rego modules, compiled together and once for all queries that share them."""
    plan: bytes
    """The input: a plan in the JSON of `terraform show -json`, without \\u escapes."""


@dataclass(frozen=True, slots=True)
class PackFinding:
    """One member of a pack's `deny`, `violation` or `warn`."""

    package: str
    rule: str
    msg: str
    id: str | None = None
    severity: str | None = None
    resource: str | None = None
    hint: str | None = None

    @property
    def gates(self) -> bool:
        """True if the finding fails its stage."""
        return not self.rule.startswith("warn")

    def diagnostic(self, document: Document | None = None) -> Diagnostic:
        """Return the finding as a diagnostic; `document` gives the line of its resource."""
        line = resource_line(document, self.resource) if document and self.resource else None
        message = self.msg or f"{self.rule} of package {self.package} is true."
        unnamed = self.resource and self.resource not in message
        message = f"{self.resource}: {message}" if unnamed else message
        message = f"[{self.severity}] {message}" if self.severity else message
        return Diagnostic(code=self.id or "PolicyPack", message=message, line=line, hint=self.hint)


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """The result of a query; `undecided` says why there is none."""

    unmet: tuple[str, ...] = ()
    """Names of the rules that are false; for an intent."""
    findings: tuple[PackFinding, ...] = ()
    """Findings of a pack."""
    undecided: Diagnostic | None = None

    @property
    def passed(self) -> bool:
        """True if the query was decided and nothing fails the stage."""
        return not (self.undecided or self.unmet or any(finding.gates for finding in self.findings))


def evaluate(
    queries: Sequence[PolicyQuery], *, seconds: float = DEADLINES.rego, each: float = DEADLINES.policy
) -> list[PolicyResult]:
    """Return the results of queries in their order, from one confined child.

    `each` bounds the processor seconds of one query, `seconds` the wall time of all. A query that exceeds either or
    crashes the engine is undecided. Raises IsolationError if the child cannot be confined or the engine is not
    installed.
    """
    if not queries:
        return []
    with isolation.private_folder() as folder:
        request = folder / "questions.json"
        request.write_text(json.dumps({"groups": _lay_out(queries, folder), "seconds": each}))
        environment = {"HOME": str(folder), "TMPDIR": str(folder), "PATH": "/nonexistent", "LANG": "C.UTF-8"}
        engine = _engine_folder()
        command = [sys.executable, "-I", "-B", child.__file__, str(request), engine]
        # /proc as a whole: the child reads the memory use of its forks, whose process ids are not known in advance.
        readable = (*isolation.PYTHON, Path(child.__file__), Path(engine), Path("/proc"))
        finished = isolation.run(
            command, cwd=folder, env=environment, seconds=seconds, readable=readable, limits=LIMITS
        )
    answers = _answers(finished.stdout)
    if finished.returncode != 0 and not answers and not finished.timed_out:
        message = f"the Rego evaluator failed (exit status {finished.returncode}): {finished.output_tail}"
        raise isolation.IsolationError(message)
    lost = {"lost": "batch" if finished.timed_out else "crash"}
    return [_result(answers.get(number, lost), each) for number in range(len(queries))]


def _engine_folder() -> str:
    """Return the folder of the installed engine; the child's isolated interpreter does not find it itself."""
    spec = importlib.util.find_spec("regopy")
    if spec is None or spec.origin is None:
        raise isolation.IsolationError("the Rego engine is not installed: `pip install loraform[verifier]`")
    return str(Path(spec.origin).parents[1])


def check_engine() -> None:
    """Raise IsolationError if the engine cannot be used; called at start-up."""
    evaluate([PolicyQuery(PolicyKind.PACK, ("package p",), b"{}")])


def intent_diagnostics(result: PolicyResult, *, name_rules: bool = True) -> list[Diagnostic]:
    """Return the diagnostic of an unmet intent; without `name_rules` it discloses nothing of the policy."""
    if not result.unmet:
        return []
    rules = f"; false: {', '.join(result.unmet)}" if name_rules else ""
    return [Diagnostic(code="IntentNotMet", message=f"The plan does not do what was asked{rules}.")]


def resource_line(document: Document, address: str) -> int | None:
    """Return the line of the resource block for a plan's address; None for a resource of a called module."""
    block = without_keys(address)
    return next((r.line for r in document.resources() if r.address == block), None)


def _lay_out(queries: Sequence[PolicyQuery], folder: Path) -> list[dict[str, Any]]:
    """Write each distinct plan to a file, and return the queries grouped by policies."""
    groups: dict[tuple[PolicyKind, tuple[str, ...]], list[dict[str, Any]]] = {}
    written: dict[bytes, str] = {}
    for number, query in enumerate(queries):
        if query.plan not in written:
            written[query.plan] = f"plan{number}.json"
            (folder / f"plan{number}.json").write_bytes(query.plan)
        group = groups.setdefault((query.kind, query.policies), [])
        group.append({"id": number, "input": written[query.plan]})
    return [{"asks": kind, "policies": policies, "questions": group} for (kind, policies), group in groups.items()]


def _answers(stdout: bytes) -> dict[int, dict[str, Any]]:
    """Return answers by query number; an incomplete last line is ignored."""
    lines = stdout.split(b"\n")[:-1]
    return {answer["id"]: answer for answer in map(json.loads, lines)}


def _result(answer: Mapping[str, Any], each: float) -> PolicyResult:
    if "lost" in answer:
        return PolicyResult(undecided=_lost(answer["lost"], each))
    if "invalid" in answer:
        message = f"The policy cannot be evaluated: {answer['invalid']}."
        return PolicyResult(undecided=Diagnostic(code="RegoInvalid", message=message))
    if "findings" in answer:
        return PolicyResult(findings=tuple(PackFinding(**({"msg": ""} | finding)) for finding in answer["findings"]))
    if not answer["decided"]:
        message = "No rule of the policy is true or false for this plan."
        return PolicyResult(undecided=Diagnostic(code="RegoWithoutVerdict", message=message))
    return PolicyResult(unmet=tuple(answer["false"]))


def _lost(reason: str, each: float) -> Diagnostic:
    if reason == "timeout":
        message = f"The policy exceeded its limit of {math.ceil(each)} s of processor time."
        return Diagnostic(code="RegoTimeout", message=message)
    if reason == "batch":
        return Diagnostic(code="RegoTimeout", message="The policies of the batch exceeded their time limit.")
    return Diagnostic(code="RegoCrashed", message="The policy crashed the Rego engine or exceeded its memory limit.")
