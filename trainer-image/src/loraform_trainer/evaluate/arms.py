"""What is compared and how it is counted. Pure: no engine, no verifier, no files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loraform_api.finetunejob_status import ArmName, Paired
from loraform_api.heartbeat import adapter_name
from loraform_api.meta import PromptTemplate
from loraform_api.names import ENGINE_MODEL
from loraform_api.run import ArmResult, Counts
from loraform_api.statistics import design_effect
from loraform_api.verification import DenyRule, HousePolicy, IntentSpec, ProgramVerdict, Stage
from loraform_verifier.schema.findings import HALLUCINATION_CODES

ALL = "All"


@dataclass(frozen=True)
class Row:
    """One held-out question."""

    id: str
    suite: str
    instruction: str
    input: str
    asked: IntentSpec | None
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
        asked = None if row["asked"] is None else IntentSpec.model_validate(row["asked"])
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
    """Return the policy as sentences for a prompt: all of it but the packs, whose Rego no sentence can say."""
    comment = policy.comment.strip()
    sentences = [f'Put the comment "{comment}" directly above each resource.'] if comment else []
    tags = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in policy.tags.items()]
    tags += [f"{key}, of any value," for key in policy.required_tags if key not in policy.tags]
    sentences += [f"Tag each resource with {tag} if it can have tags." for tag in tags]
    return " ".join([*sentences, *map(_forbid, policy.deny)])


def _forbid(rule: DenyRule) -> str:
    types, values = " or ".join(rule.types), " or ".join(f'"{value}"' for value in rule.values)
    if not rule.argument:
        sentence = f"Use no resource of type {types}."
    else:
        what = f"value {values} in" if values else "argument"
        sentence = f"Never give a resource of type {types} the {what} {rule.argument}."
    return f"{sentence} {rule.message.rstrip('.')}." if rule.message else sentence


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
    def lapsed(self) -> bool:
        """The answer is valid and breaks the house policy as it would be served."""
        stages = () if self.served is None else self.served.stages
        return any(result.stage is Stage.POLICY and not result.passed for result in stages)

    @property
    def passed(self) -> bool:
        """The row's outcome: every stage passed by what the model wrote."""
        return self.raw is not None and self.raw.passed

    @property
    def passed_served(self) -> bool:
        """Every stage passed as it would be served."""
        return self.served is not None and self.served.passed

    def passed_stage(self, *, stage: Stage, served: bool) -> bool:
        """Say whether `stage` was reached and passed."""
        verdict = self.served if served else self.raw
        return verdict is not None and verdict.stage_passed(stage)

    @property
    def inconclusive(self) -> bool:
        """A stage could not judge the raw answer."""
        return self.raw is not None and any(result.inconclusive for result in self.raw.stages)

    @property
    def served_text(self) -> str:
        """What serving would send."""
        rewritten = None if self.served is None else self.served.rewritten
        return self.text if rewritten is None else rewritten


def count(name: ArmName, scored: Sequence[Scored]) -> ArmResult:
    """Count one arm's outcomes. Every row that a figure is asked of counts in its denominator."""
    counts = {str(stage): _count(stage, scored) for stage in stages_of(scored)}
    counts[ALL] = Counts(sum(s.passed for s in scored), sum(s.passed_served for s in scored), len(scored))
    template = scored[0].arm.template
    return ArmResult(
        name=name,
        prompt_template=None if template is PromptTemplate.INSTRUCTION else template,
        rows=len(scored),
        counts=counts,
        truncated=sum(s.truncated for s in scored),
        inconclusive=sum(s.inconclusive for s in scored),
        distinct_answers=len({s.text for s in scored}),
        hallucinated=sum(s.hallucinated for s in scored),
        policy_lapses=sum(s.lapsed for s in scored),
    )


def stages_of(scored: Sequence[Scored]) -> list[Stage]:
    """Return the stages that any row asks for, in their order."""
    return sorted({stage for s in scored for stage in s.row.stages}, key=list(Stage).index)


def _count(stage: Stage, scored: Sequence[Scored]) -> Counts:
    asked = [s for s in scored if stage in s.row.stages]
    raw, served = (sum(s.passed_stage(stage=stage, served=kind) for s in asked) for kind in (False, True))
    return Counts(raw, served, len(asked))


def pair(reference: Sequence[Scored], candidate: Sequence[Scored]) -> Paired:
    """Compare raw outcomes row by row; both sequences hold the same rows in the same order."""
    outcomes = [(r.passed, c.passed) for r, c in zip(reference, candidate, strict=True)]
    discordant = [(s.row, c - r) for s, (r, c) in zip(candidate, outcomes, strict=True) if c != r]
    return Paired(
        reference="Live" if reference[0].arm.name is ArmName.LIVE else "Base",
        both_passed=outcomes.count((True, True)),
        candidate_only=outcomes.count((False, True)),
        reference_only=outcomes.count((True, False)),
        neither_passed=outcomes.count((False, False)),
        design_effect=f"{effect(discordant):.4g}",
    )


def effect(discordant: Sequence[tuple[Row, int]]) -> float:
    """Return the design effect of a comparison from the rows on which it differs: 1 where gained, -1 where lost."""
    nets: Counter[str] = Counter()
    for row, net in discordant:
        nets[row.cluster_key] += net
    return design_effect(nets.values(), len(discordant))
