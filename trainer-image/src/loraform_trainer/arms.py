"""What is compared and how it is counted. Pure: no engine, no verifier, no files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loraform_api.finetunejob_status import ArmName
from loraform_api.heartbeat import adapter_name
from loraform_api.names import ENGINE_MODEL
from loraform_api.prompt import PromptTemplate
from loraform_api.run import ArmResult, Counts, PairedResult
from loraform_api.verification import Asked, HousePolicy, ProgramVerdict, Stage
from loraform_verifier.schema.findings import HALLUCINATION_CODES

ALL = "All"


@dataclass(frozen=True)
class Row:
    """One held-out question."""

    id: str
    suite: str
    instruction: str
    input: str
    asked: Asked | None
    stages: tuple[Stage, ...]
    rego: str | None = None
    """What Intent asks of the plan."""
    types: tuple[str, ...] = ()
    """Resource types that an answer should have."""
    difficulty: str = ""
    cluster: str = ""
    """Rows of one suite with the same cluster vary one thing; empty: the row is like no other."""

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Row:
        """Read a line of `data/suite.jsonl`."""
        asked = None if row["asked"] is None else Asked.model_validate(row["asked"])
        stages, types = tuple(Stage(s) for s in row["stages"]), tuple(row["types"])
        text = (row["id"], row["suite"], row["instruction"], row["input"])
        return cls(*text, asked, stages, row["rego"], types, row["difficulty"], row["cluster"])

    @property
    def cluster_key(self) -> str:
        """What is equal for the rows of one cluster."""
        return json.dumps([self.suite, self.cluster] if self.cluster else [self.id])


@dataclass(frozen=True)
class Arm:
    name: ArmName
    model: str
    """Name in the engine."""
    digest: str | None = None
    """The adapter's digest."""
    policy: HousePolicy | None = None
    """A policy to state in the prompt."""
    template: PromptTemplate = PromptTemplate.INSTRUCTION

    def instruction(self, row: Row) -> str:
        """Return what this arm is asked."""
        return row.instruction if self.policy is None else f"{row.instruction.strip()} {state(self.policy)}".strip()


def arms(
    candidate: str, live: str | None, policy: HousePolicy | None, *, chats: bool = False, merged: bool = False
) -> list[Arm]:
    """Return the arms of a run; adapters are given by digest.

    `chats`: the base has a chat template of its own. `merged`: the candidate is the engine's own model.
    """
    chosen = baseline(policy, chats=chats)
    if live is not None:
        chosen.append(Arm(ArmName.LIVE, adapter_name(live), live))
    model = ENGINE_MODEL if merged else adapter_name(candidate)
    return [*chosen, Arm(ArmName.CANDIDATE, model, candidate)]


def baseline(policy: HousePolicy | None, *, chats: bool = False) -> list[Arm]:
    """Return the arms of the base alone: as it comes, and asked as one would ask it who had nothing else."""
    chosen = [Arm(ArmName.BASE, ENGINE_MODEL)]
    if policy is not None:
        template = PromptTemplate.CHAT if chats else PromptTemplate.INSTRUCTION
        chosen.append(Arm(ArmName.BASE_WITH_POLICY, ENGINE_MODEL, policy=policy, template=template))
    return chosen


def state(policy: HousePolicy) -> str:
    """Return the policy as a sentence for a prompt."""
    comment = policy.comment.removeprefix("#").strip()
    sentences = [f'Put the comment "{comment}" above each resource.'] if comment else []
    sentences += [f"Add the tag {key} with the value {value}." for key, value in policy.tags.items()]
    return " ".join(sentences)


def by_arm(compared: Sequence[Arm], answers: Sequence[Scored]) -> dict[ArmName, list[Scored]]:
    """Return each arm's answers in their order."""
    return {arm.name: [s for s in answers if s.arm == arm] for arm in compared}


@dataclass(frozen=True)
class Scored:
    """One arm's answer to one row with its verdicts; a truncated answer has none, and failed."""

    arm: Arm
    row: Row
    text: str
    truncated: bool = False
    raw: ProgramVerdict | None = None
    served: ProgramVerdict | None = None
    sample: int = 0
    """0 is the greedy answer, the only one that decides; drawn ones are counted from 1."""

    @property
    def hallucinated(self) -> bool:
        """The raw answer uses what the provider does not have. Schema and terraform itself say so by the same codes."""
        findings = () if self.raw is None else (d for stage in self.raw.stages for d in stage.diagnostics)
        return any(d.code in HALLUCINATION_CODES for d in findings)

    @property
    def passed(self) -> bool:
        """The row's outcome: every stage passed by what the model wrote."""
        return self.raw is not None and self.raw.passed

    @property
    def served_text(self) -> str:
        """What serving would send."""
        rewritten = None if self.served is None else self.served.rewritten
        return self.text if rewritten is None else rewritten


def count(name: ArmName, scored: Sequence[Scored]) -> ArmResult:
    """Count one arm's outcomes. Every row counts in every figure's denominator."""
    stages = sorted({stage for s in scored for stage in s.row.stages}, key=list(Stage).index)
    counts = {
        str(stage): Counts(
            raw=sum(_passed(s.raw, stage) for s in scored), served=sum(_passed(s.served, stage) for s in scored)
        )
        for stage in stages
    }
    counts[ALL] = Counts(
        raw=sum(s.passed for s in scored), served=sum(s.served is not None and s.served.passed for s in scored)
    )
    template = scored[0].arm.template
    return ArmResult(
        name=name,
        prompt_template=None if template is PromptTemplate.INSTRUCTION else template,
        rows=len(scored),
        counts=counts,
        truncated=sum(s.truncated for s in scored),
        inconclusive=sum(s.raw is not None and any(r.inconclusive for r in s.raw.stages) for s in scored),
        distinct_answers=len({s.text for s in scored}),
        hallucinated=sum(s.hallucinated for s in scored),
    )


def _passed(verdict: ProgramVerdict | None, stage: Stage) -> bool:
    return verdict is not None and verdict.stage_passed(stage)


def pair(reference: Sequence[Scored], candidate: Sequence[Scored]) -> PairedResult:
    """Compare raw outcomes row by row; both sequences hold the same rows in the same order."""
    outcomes = [(r.passed, c.passed) for r, c in zip(reference, candidate, strict=True)]
    return PairedResult(
        reference=reference[0].arm.name,
        both_passed=outcomes.count((True, True)),
        candidate_only=outcomes.count((False, True)),
        reference_only=outcomes.count((True, False)),
        neither_passed=outcomes.count((False, False)),
    )
