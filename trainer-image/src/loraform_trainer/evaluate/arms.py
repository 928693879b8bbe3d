"""The arms of an evaluation, their scored answers, and how these are counted and compared. Pure: no I/O."""

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
from loraform_engine.prompt import asked_text
from loraform_verifier.schema.findings import HALLUCINATION_CODES

ALL = "All"


@dataclass(frozen=True)
class EvaluationRow:
    """One row of an evaluation suite."""

    id: str
    suite: str
    instruction: str
    input: str
    asked: IntentSpec | None
    stages: tuple[Stage, ...]
    rego: str | None = None
    """Rego that stage Intent evaluates on the plan."""
    types: tuple[str, ...] = ()
    """Resource types that an answer should contain."""
    difficulty: str = ""
    cluster: str = ""
    """Rows of a suite with the same cluster are variants of one task; empty for a row without variants."""

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> EvaluationRow:
        """Read a line of `data/suite.jsonl`."""
        asked = None if row["asked"] is None else IntentSpec.model_validate(row["asked"])
        stages, types = tuple(Stage(s) for s in row["stages"]), tuple(row["types"])
        text = (row["id"], row["suite"], row["instruction"], row["input"])
        return cls(*text, asked, stages, row["rego"], types, row["difficulty"], row["cluster"])

    @property
    def prompt(self) -> str:
        """Everything that the row asks, whose literals an answer may repeat."""
        return asked_text(self.instruction, self.input)

    @property
    def cluster_key(self) -> str:
        """A key that the rows of one cluster share."""
        return json.dumps([self.suite, self.cluster] if self.cluster else [self.id])


@dataclass(frozen=True)
class Arm:
    """One of the compared models, with its prompt."""

    name: ArmName
    model: str
    """The model's name in the engine."""
    digest: str | None = None
    """The adapter's digest; None for the base."""
    policy: HousePolicy | None = None
    """The policy to state in the prompt."""
    template: PromptTemplate = PromptTemplate.INSTRUCTION

    def instruction(self, row: EvaluationRow) -> str:
        """Return the instruction that this arm gets for a row."""
        if self.policy is None:
            return row.instruction
        return f"{row.instruction.strip()} {policy_sentences(self.policy)}".strip()


def compared_arms(
    candidate: str,
    live: str | None,
    policy: HousePolicy | None,
    *,
    has_chat_template: bool = False,
    merged: bool = False,
) -> list[Arm]:
    """Return the arms of a run; adapters are given by digest.

    `has_chat_template`: the base has a chat template. `merged`: the engine's own model is the merged candidate.
    """
    arms = base_arms(policy, has_chat_template=has_chat_template)
    if live is not None:
        arms.append(Arm(ArmName.LIVE, adapter_name(live), live))
    model = ENGINE_MODEL if merged else adapter_name(candidate)
    return [*arms, Arm(ArmName.CANDIDATE, model, candidate)]


def base_arms(policy: HousePolicy | None, *, has_chat_template: bool = False) -> list[Arm]:
    """Return the base arms: plain prompt, and prompt with the policy."""
    arms = [Arm(ArmName.BASE, ENGINE_MODEL)]
    if policy is not None:
        template = PromptTemplate.CHAT if has_chat_template else PromptTemplate.INSTRUCTION
        arms.append(Arm(ArmName.BASE_WITH_POLICY, ENGINE_MODEL, policy=policy, template=template))
    return arms


def policy_sentences(policy: HousePolicy) -> str:
    """Return the policy as sentences for a prompt, without its packs, as Rego cannot be translated to sentences."""
    comment = policy.comment.strip()
    sentences = [f'Put the comment "{comment}" directly above each resource.'] if comment else []
    tags = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in policy.tags.items()]
    tags += [f"{key}, of any value," for key in policy.required_tags if key not in policy.tags]
    sentences += [f"Tag each resource with {tag} if it can have tags." for tag in tags]
    return " ".join([*sentences, *map(_deny_sentence, policy.deny)])


def _deny_sentence(rule: DenyRule) -> str:
    types, values = " or ".join(rule.types), " or ".join(f'"{value}"' for value in rule.values)
    if not rule.argument:
        sentence = f"Use no resource of type {types}."
    else:
        forbidden = f"value {values} in" if values else "argument"
        sentence = f"Never give a resource of type {types} the {forbidden} {rule.argument}."
    return f"{sentence} {rule.message.rstrip('.')}." if rule.message else sentence


def by_arm(compared: Sequence[Arm], answers: Sequence[ScoredAnswer]) -> dict[ArmName, list[ScoredAnswer]]:
    """Return each arm's answers, in the given order."""
    return {arm.name: [s for s in answers if s.arm == arm] for arm in compared}


@dataclass(frozen=True)
class ScoredAnswer:
    """One arm's answer to one row, with its verdicts; a truncated answer has no verdict and counts as failed."""

    arm: Arm
    row: EvaluationRow
    text: str
    truncated: bool = False
    raw: ProgramVerdict | None = None
    served: ProgramVerdict | None = None
    sample: int = 0
    """0 for the greedy answer, which the comparison uses; sampled answers are numbered from 1."""

    @property
    def hallucinated(self) -> bool:
        """True if the raw answer uses a type, block or argument that the provider does not have."""
        diagnostics = () if self.raw is None else (d for stage in self.raw.stages for d in stage.diagnostics)
        return any(d.code in HALLUCINATION_CODES for d in diagnostics)

    @property
    def violates_policy(self) -> bool:
        """True if the answer, as it would be served, reaches stage Policy and fails it."""
        stages = () if self.served is None else self.served.stages
        return any(result.stage is Stage.POLICY and not result.passed for result in stages)

    @property
    def passed(self) -> bool:
        """True if the answer as the model wrote it passed every stage; this is the row's outcome."""
        return self.raw is not None and self.raw.passed

    @property
    def passed_served(self) -> bool:
        """True if the answer as it would be served passed every stage."""
        return self.served is not None and self.served.passed

    def passed_stage(self, *, stage: Stage, served: bool) -> bool:
        """Return True if `stage` was reached and passed."""
        verdict = self.served if served else self.raw
        return verdict is not None and verdict.stage_passed(stage)

    @property
    def inconclusive(self) -> bool:
        """True if a stage could not decide about the raw answer."""
        return self.raw is not None and any(result.inconclusive for result in self.raw.stages)

    @property
    def served_text(self) -> str:
        """The answer as it would be served."""
        rewritten = None if self.served is None else self.served.rewritten
        return self.text if rewritten is None else rewritten


def count(name: ArmName, scored: Sequence[ScoredAnswer]) -> ArmResult:
    """Count one arm's outcomes. The denominator of a stage is every row that has the stage."""
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
        policy_lapses=sum(s.violates_policy for s in scored),
    )


def stages_of(scored: Sequence[ScoredAnswer]) -> list[Stage]:
    """Return the stages that any row has, in order."""
    return sorted({stage for s in scored for stage in s.row.stages}, key=list(Stage).index)


def _count(stage: Stage, scored: Sequence[ScoredAnswer]) -> Counts:
    with_stage = [s for s in scored if stage in s.row.stages]
    raw, served = (sum(s.passed_stage(stage=stage, served=kind) for s in with_stage) for kind in (False, True))
    return Counts(raw, served, len(with_stage))


def pair(reference: Sequence[ScoredAnswer], candidate: Sequence[ScoredAnswer]) -> Paired:
    """Compare raw outcomes row by row; both sequences have the same rows in the same order."""
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


def effect(discordant: Sequence[tuple[EvaluationRow, int]]) -> float:
    """Return the design effect of a comparison from its discordant rows: 1 for a gained row, -1 for a lost one."""
    nets: Counter[str] = Counter()
    for row, net in discordant:
        nets[row.cluster_key] += net
    return design_effect(nets.values(), len(discordant))
