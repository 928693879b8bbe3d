"""Answers as the gateway serves them, against a plain terraform in an ordinary folder.

What is served as verified must be accepted by `terraform init` and `terraform validate`, which share nothing with the
verifier. For each commit some answers of each verdict are drawn; `make test-long` takes all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loraform_api.verification import HousePolicy, VerifyRequest, VerifyResponse
from loraform_gateway.openai import Verdict
from loraform_gateway.verifying import VerifiedAnswer, verify_answer
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

from ...drawn import some_of_each

ANSWERS = Path(__file__).parent / "answers.txt"
POLICY = HousePolicy(comment="# by PiCloud", tags={"created_by": "PiCloud"})
USES_AWS = 'resource "aws_sqs_queue" "q" {\n  name = "q"\n}\n'
CONFIGURATION = (
    'disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{\n    path = "{}"\n  }}\n}}\n'
)


@dataclass(frozen=True)
class Answer:
    name: str
    text: str
    verdict: Verdict


def answers() -> list[Answer]:
    entries = re.split(r"(?m)^=== ", ANSWERS.read_text(encoding="utf-8"))[1:]
    heads = [entry.partition("\n") for entry in entries]
    return [Answer(head.partition(": ")[2], text, Verdict(head.partition(": ")[0])) for head, _, text in heads]


ALL = answers()
PASSED = [answer for answer in ALL if answer.verdict is Verdict.PASSED]
DRAWN = some_of_each(ALL, lambda answer: [answer.verdict])
PASSED_DRAWN = some_of_each(PASSED, lambda answer: [answer.verdict], count=2)


@pytest.fixture(scope="module")
def served(terraform: Terraform) -> Iterator[Callable[[str], VerifiedAnswer]]:
    with ProviderServers(terraform) as keeper:
        verifier = Verifier(terraform, servers=keeper)

        async def verify(request: VerifyRequest) -> VerifyResponse:
            return verifier.verify(request)

        def serve(text: str) -> VerifiedAnswer:
            answer = verify_answer(verify, text, POLICY, "")
            try:
                while True:
                    answer.send(None)  # nothing in it waits
            except StopIteration as done:
                result: VerifiedAnswer = done.value
                return result

        yield serve


@dataclass(frozen=True)
class PlainTerraform:
    """Terraform with the mirror as its registry, run as anyone would."""

    binary: Path
    home: Path

    def refusal(self, text: str) -> str:
        """Return what terraform says against a program; empty if it accepts it."""
        folder = self.home / "program"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.home / "initialised", folder, symlinks=True)
        (folder / "main.tf").write_text(text, encoding="utf-8")
        return self.run(folder, "init", "-backend=false", "-input=false") or self.run(folder, "validate")

    def run(self, folder: Path, *arguments: str) -> str:
        environment = os.environ | {"TF_CLI_CONFIG_FILE": str(self.home / "terraform.rc")}
        command = [str(self.binary), *arguments, "-no-color"]
        ended = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
        return ended.stdout + ended.stderr if ended.returncode else ""


@pytest.fixture(scope="module")
def plain(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> PlainTerraform:
    made = PlainTerraform(terraform.binary, tmp_path_factory.mktemp("plain"))
    provider = terraform.provider("aws")
    assert provider is not None
    (made.home / "terraform.rc").write_text(CONFIGURATION.format(provider.folder.parents[4]))
    initialised = made.home / "initialised"
    initialised.mkdir()
    (initialised / "main.tf").write_text(USES_AWS)
    assert made.run(initialised, "init", "-backend=false", "-input=false") == ""
    return made


def drawn_and_all(drawn: list[Answer], whole: list[Answer]) -> list[object]:
    names = {answer.name for answer in drawn}
    return [
        pytest.param(answer, id=answer.name, marks=() if answer.name in names else pytest.mark.slow) for answer in whole
    ]


def test_the_answers_are_many_and_of_each_verdict() -> None:
    assert len(ALL) >= 60
    assert len({answer.name for answer in ALL}) == len({answer.text for answer in ALL}) == len(ALL)
    assert len(PASSED) >= 20
    assert {answer.verdict for answer in ALL} == {Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.EMPTY}


@pytest.mark.parametrize("answer", drawn_and_all(DRAWN, ALL))
def test_each_answer_gets_its_verdict(served: Callable[[str], VerifiedAnswer], answer: Answer) -> None:
    result = served(answer.text)
    assert result.verdict is answer.verdict, result.stages
    assert not (result.raw_passed and result.verdict is not Verdict.PASSED)


@pytest.mark.parametrize("answer", drawn_and_all(PASSED_DRAWN, PASSED))
def test_what_is_served_as_verified_terraform_accepts(
    served: Callable[[str], VerifiedAnswer], plain: PlainTerraform, answer: Answer
) -> None:
    result = served(answer.text)
    assert result.verdict is Verdict.PASSED
    assert plain.refusal(result.text) == ""


@pytest.mark.slow
@pytest.mark.parametrize("answer", [a for a in ALL if a.verdict is Verdict.FAILED], ids=lambda answer: answer.name)
def test_what_is_served_as_failed_terraform_refuses(plain: PlainTerraform, answer: Answer) -> None:
    assert plain.refusal(answer.text) != ""
