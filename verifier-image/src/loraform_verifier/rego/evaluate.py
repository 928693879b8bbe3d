"""Asks Rego policies about plans: the intent of a suite's row, packs of house rules, the bundled security rules.

Policies come from data sets and ConfigMaps, so the engine never runs in this process: a batch of questions goes to one
confined child (`rego.child`), and this module words its answers. It never repeats a policy's text.
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
from loraform_verifier.terraform.plan_json import without_keys

PER_QUESTION = 30.0
"""Seconds of processor time; the slowest policy of IaC-Eval takes four."""
_RESERVED = 264 * 1024 * isolation.MIB
LIMITS = isolation.Limits(data=_RESERVED, address_space=_RESERVED, fsize=128 * isolation.MIB, nofile=64)
"""The engine's allocator reserves 256 GiB and dies without; `rego.child` watches what is really used."""


class Asks(StrEnum):
    """How the answer is read."""

    INTENT = "intent"
    """As IaC-Eval does: `data` must hold a truth value and no false."""
    PACK = "pack"
    """As conftest does: what the sets `deny`, `violation`, `warn` of any package hold."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one plan."""

    asks: Asks
    policies: tuple[str, ...]
    """Rego modules, compiled together and once for all questions that share them."""
    plan: bytes
    """The input in JSON: a plan as `terraform show -json` writes it, without \\u escapes."""


@dataclass(frozen=True, slots=True)
class Finding:
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
        """It fails its stage."""
        return not self.rule.startswith("warn")

    def diagnostic(self, document: Document | None = None) -> Diagnostic:
        """Word it for the author of the program; `document` tells the line of its resource."""
        line = place(document, self.resource) if document and self.resource else None
        message = self.msg or f"{self.rule} of package {self.package} is true."
        named = self.resource and self.resource not in message
        message = f"{self.resource}: {message}" if named else message
        message = f"[{self.severity}] {message}" if self.severity else message
        return Diagnostic(code=self.id or "PolicyPack", message=message, line=line, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policies say of a plan; with `undecided` they say nothing."""

    unmet: tuple[str, ...] = ()
    """Of an intent: the names of the rules that are false."""
    findings: tuple[Finding, ...] = ()
    """Of a pack."""
    undecided: Diagnostic | None = None

    @property
    def passed(self) -> bool:
        """It was decided, and nothing gates."""
        return not (self.undecided or self.unmet or any(finding.gates for finding in self.findings))


def evaluate(questions: Sequence[Question], *, seconds: float = 600, each: float = PER_QUESTION) -> list[Answer]:
    """Answer questions in their order, in one confined child.

    `each` bounds the processor time of one question, `seconds` the wall time of all. A question that is lost to
    either, or that crashes the engine, is undecided. Raises IsolationError where the child could not be confined or
    the engine is not installed.
    """
    if not questions:
        return []
    with isolation.private_folder() as folder:
        asked = folder / "questions.json"
        asked.write_text(json.dumps({"groups": _lay_out(questions, folder), "seconds": each}))
        environment = {"HOME": str(folder), "TMPDIR": str(folder), "PATH": "/nonexistent", "LANG": "C.UTF-8"}
        engine = _engine_folder()
        command = [sys.executable, "-I", "-B", child.__file__, str(asked), engine]
        # It watches the memory of the processes that it forks, whose files in /proc no narrower rule could name.
        readable = (*isolation.PYTHON, Path(child.__file__), Path(engine), Path("/proc"))
        finished = isolation.run(
            command, cwd=folder, env=environment, seconds=seconds, readable=readable, limits=LIMITS
        )
    answers = _answers(finished.stdout)
    if finished.returncode != 0 and not answers and not finished.timed_out:
        words = f"the evaluator of Rego failed (exit status {finished.returncode}): {finished.said}"
        raise isolation.IsolationError(words)
    gone = {"lost": "batch" if finished.timed_out else "crash"}
    return [_answer(answers.get(number, gone), each) for number in range(len(questions))]


def _engine_folder() -> str:
    """Return where the engine is installed; the child's interpreter looks nowhere by itself."""
    found = importlib.util.find_spec("regopy")
    if found is None or found.origin is None:
        raise isolation.IsolationError("the Rego engine is not installed: `pip install loraform[verifier]`")
    return str(Path(found.origin).parents[1])


def check_engine() -> None:
    """Raise IsolationError where the engine cannot be used at all: better at the start than at the first question."""
    evaluate([Question(Asks.PACK, ("package p",), b"{}")])


def intent_diagnostics(answer: Answer, *, name_rules: bool = True) -> list[Diagnostic]:
    """Word an intent that is not met; without `name_rules` nothing of the policy is told."""
    if not answer.unmet:
        return []
    told = f"; false: {', '.join(answer.unmet)}" if name_rules else ""
    return [Diagnostic(code="IntentNotMet", message=f"The plan does not do what was asked{told}.")]


def place(document: Document, address: str) -> int | None:
    """Return the line of the resource block that a plan's address means; None for one of a called module."""
    block = without_keys(address)
    return next((r.line for r in document.resources() if r.address == block), None)


def _lay_out(questions: Sequence[Question], folder: Path) -> list[dict[str, Any]]:
    """Write each plan once, and return the questions grouped by policies."""
    groups: dict[tuple[Asks, tuple[str, ...]], list[dict[str, Any]]] = {}
    written: dict[bytes, str] = {}
    for number, question in enumerate(questions):
        if question.plan not in written:
            written[question.plan] = f"plan{number}.json"
            (folder / f"plan{number}.json").write_bytes(question.plan)
        group = groups.setdefault((question.asks, question.policies), [])
        group.append({"id": number, "input": written[question.plan]})
    return [{"asks": asks, "policies": policies, "questions": group} for (asks, policies), group in groups.items()]


def _answers(stdout: bytes) -> dict[int, dict[str, Any]]:
    """Return whole answers by question; the last line may have been cut short."""
    lines = stdout.split(b"\n")[:-1]
    return {answer["id"]: answer for answer in map(json.loads, lines)}


def _answer(said: Mapping[str, Any], each: float) -> Answer:
    if "lost" in said:
        return Answer(undecided=_lost(said["lost"], each))
    if "invalid" in said:
        message = f"The policy cannot be evaluated: {said['invalid']}."
        return Answer(undecided=Diagnostic(code="RegoInvalid", message=message))
    if "findings" in said:
        return Answer(findings=tuple(Finding(**({"msg": ""} | found)) for found in said["findings"]))
    if not said["decided"]:
        message = "No rule of the policy is true or false for this plan."
        return Answer(undecided=Diagnostic(code="RegoWithoutVerdict", message=message))
    return Answer(unmet=tuple(said["false"]))


def _lost(how: str, each: float) -> Diagnostic:
    if how == "timeout":
        message = f"The policy did not come to an end in {math.ceil(each)} s of processor time."
        return Diagnostic(code="RegoTimeout", message=message)
    if how == "batch":
        return Diagnostic(code="RegoTimeout", message="The policies of the batch did not come to an end in time.")
    return Diagnostic(code="RegoCrashed", message="The policy crashed the engine or used up its memory.")
