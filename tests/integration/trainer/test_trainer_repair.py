"""Repair rows judged by a real verifier service with terraform, and the prompt that evaluation makes of the same."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import pytest

from loraform_api.finetunejob_status import ArmName
from loraform_api.verification import WITHOUT_PLAN, HousePolicy, Program, ProgramVerdict, Stage, VerifyRequest
from loraform_demo.corpus import dataset_rows
from loraform_gateway.verifying import VerifiedAnswer
from loraform_gateway.verifying import verify_answer as served
from loraform_trainer.__main__ import load_config
from loraform_trainer.evaluate import arms, reflexion
from loraform_trainer.evaluate.answer_verifier import AnswerVerifier
from loraform_trainer.evaluate.answers import GeneratedAnswer
from loraform_trainer.evaluate.arms import Arm, ScoredAnswer
from loraform_trainer.prepare.dataset.repair.make_rows import RepairRows, make_repair_rows
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.progress import Progress
from loraform_verifier.hcl.parse import parse
from loraform_verifier.http import blocking
from loraform_verifier.http.client import VerifierClient
from loraform_verifier.policy.rewrite import rewrite
from loraform_verifier.reflexion import REASONS, REFUSED, Candidate, repair_input
from loraform_verifier.verify import Verifier

from .conftest import Pod

VARIED = """variable "size" {
  type = number
}

resource "aws_vpc" "net" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_instance" "web" {
  ami           = "ami-12345678"
  instance_type = "t3.micro"
  monitoring    = true

  root_block_device {
    volume_size = var.size
  }

  tags = {
    owner = "us"
    net   = aws_vpc.net.id
  }
}
"""
EXPECTED = {
    "MissingArgument": {"MissingRequiredArgument"},
    "InventedArgument": {"UnsupportedArgument"},
    "MisspeltArgument": {"UnsupportedArgument", "MissingRequiredArgument"},
    "InventedType": {"InvalidResourceType"},
    "WrongAttribute": {"UnsupportedAttribute"},
    "WrongValue": {"IncorrectAttributeValueType"},
    "BlockAsArgument": {"UnsupportedArgument"},
    "ArgumentAsBlock": {"UnsupportedBlockType"},
    "WrongReference": {"ReferenceToUndeclaredResource"},
    "UndeclaredVariable": {"ReferenceToUndeclaredInputVariable"},
    "ForgottenVariable": {"ReferenceToUndeclaredInputVariable"},
    "InventedFunction": {"CallToUnknownFunction"},
    "RepeatedArgument": {"AttributeRedefined"},
    "RepeatedResource": {"DuplicateResourceConfiguration"},
    "MissingBrace": {"SyntaxError"},
    "MissingQuote": {"SyntaxError", "MissingNewline"},
    "MissingTag": {"TagMissing"},
}
"""What terraform, or the parser, says of each kind."""
POLICY = HousePolicy(comment="# Made by us", tags={"created_by": "us"}, required_tags=["owner"])


@pytest.fixture
def verifier(terraform_verifier: Verifier) -> Verifier:
    return terraform_verifier


def training_rows(policy: HousePolicy | None) -> list[TrainingRow]:
    """Rows as prepare leaves them: verified, with the policy written into their answers."""
    programs = [VARIED, *(row.response for row in dataset_rows(60 if policy is None else 150, 5))]
    if policy is not None:
        programs = [
            rewrite(parse(text.replace("tags = {", 'tags = {\n    owner = "us"')), policy) for text in programs[1:]
        ]
        programs = [text for text in programs if "owner" in text]
    return [TrainingRow(f"data:{i}", f"Build thing {i}.", "", text) for i, text in enumerate(programs)]


async def repaired(url: str, rows: Sequence[TrainingRow], policy: HousePolicy | None) -> RepairRows:
    verify = partial(blocking.verify, url)
    make = partial(make_repair_rows, policy=policy, fits=lambda _: True, seed=3, verify=verify)
    return await asyncio.to_thread(make, rows, 50)


def shown(row: TrainingRow) -> str:
    """The broken program in a repair row."""
    return row.input.partition(f"{REFUSED}\n")[2].partition(f"\n\n{REASONS}\n")[0] + "\n"


def codes(row: TrainingRow) -> set[str]:
    """The classes of what a repair row says is wrong."""
    reasons = row.input.partition(f"\n\n{REASONS}\n")[2].partition("\n\n")[0].splitlines()
    return {line.split(":")[1 if line.startswith("main.tf") else 0].split(" ")[-1] for line in reasons}


async def test_each_kind_of_mistake_is_refused_with_its_diagnostic_and_each_answer_passes(
    urls: tuple[str, str],
) -> None:
    rows = training_rows(None)
    found = await repaired(urls[1], rows, None)
    assert (len(found.rows), found.missing) == ((len(rows) + 1) // 2, 0)
    by_kind = defaultdict(set)
    for row in found.rows:
        by_kind[row.id.partition("#")[2]] |= codes(row)
    assert len(by_kind) >= 12
    assert {kind: said for kind, said in by_kind.items() if not said & EXPECTED[kind]} == {}
    programs = [Program(id=row.id, text=row.response) for row in found.rows]
    stages = [Stage.PARSE, Stage.VALIDATE]
    async with VerifierClient(urls[1]) as verify:
        answers = await verify.verify(VerifyRequest(programs=programs, stages=stages))
        refused = await verify.verify(
            VerifyRequest(programs=[Program(id=row.id, text=shown(row)) for row in found.rows], stages=stages)
        )
    assert [v.id for v in answers.verdicts if not v.passed] == []
    assert [v.id for v in refused.verdicts if v.passed] == []


@pytest.mark.parametrize("policy", [None, POLICY], ids=["no policy", "policy"])
async def test_the_prompt_is_that_of_evaluation_and_of_serving(
    trained: Pod, urls: tuple[str, str], policy: HousePolicy | None
) -> None:
    """The same program, alone in a request as in serving and among others as in evaluation, gives the same tokens."""
    found = await repaired(urls[1], training_rows(policy), policy)
    assert policy is None or "MissingTag" in found.kinds
    trained.config["policy"] = None if policy is None else policy.model_dump(mode="json", by_alias=True)
    trained.write_config()
    context = Context(load_config(trained.paths.run_config), trained.paths, Progress(None))
    async with VerifierClient(urls[1]) as verify:
        asked = await _asked_in_evaluation(context, verify, found.rows)
        alone = [
            repair_input(
                row.input.partition(REFUSED)[0],
                _candidate(await served(verify.verify, shown(row), policy, row.instruction)),
            )
            for row in found.rows[:4]
        ]
    assert asked == {row.id: (row.instruction, row.input) for row in found.rows}
    assert alone == [row.input for row in found.rows[:4]]
    vocabulary = tokens.load(trained.paths.base)
    trained_on = [vocabulary.tokens(row.instruction, row.input) for row in found.rows]
    assert trained_on == [vocabulary.tokens(*asked[row.id]) for row in found.rows]


def _candidate(answer: VerifiedAnswer) -> Candidate:
    return Candidate(answer.text, ProgramVerdict(id="answer", passed=False, stages=answer.stages))


async def _asked_in_evaluation(
    context: Context, verify: VerifierClient, rows: Sequence[TrainingRow]
) -> dict[str, tuple[str, str]]:
    """Return instruction and input with which stage evaluate asks for a repair of each row's broken program."""
    judge = AnswerVerifier(context, verify)
    asked: dict[str, tuple[str, str]] = {}

    async def generate(arm: Arm, instruction: str, given: str, sample: int) -> GeneratedAnswer:
        row = next(row for row in rows if row.instruction == instruction and row.input == given)
        asked[row.id] = (instruction, given)
        return GeneratedAnswer("", truncated=True)

    arm = Arm(ArmName.CANDIDATE, "adapter")
    questions = [arms.EvaluationRow(row.id, "s", row.instruction, "", None, WITHOUT_PLAN) for row in rows]
    first = [ScoredAnswer(arm, question, shown(row)) for question, row in zip(questions, rows, strict=True)]
    await reflexion.ReflexionRun(generate, judge, 1, lambda _: None).measure(first)
    return asked
