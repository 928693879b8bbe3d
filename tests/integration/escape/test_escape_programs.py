"""Each hostile program in a batch between two innocent ones: what must come of it does, and of the others too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from loraform_api.verification import HousePolicy, Program, ProgramVerdict, Stage, VerifyRequest
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import Deadlines
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator
from loraform_verifier.verify import Verifier

from ..listening import Listeners
from .attacks import ALL, BOMBS, DRAWN, Attack, Must
from .conftest import Planted

STAGES = [Stage.PARSE, Stage.VALIDATE, Stage.PLAN]
GOOD = Program(id="good", text='resource "terraform_data" "ok" {\n  input = 1\n}\n')
WRONG = Program(id="wrong", text='resource "terraform_data" "ok" {\n  inputt = 1\n}\n')
GAVE_UP = {"Timeout", "TerraformFailed"}
# What was measured without our rules: each row with the attacks that repeat it.
MEASURED = {
    "init runs git": "module from git::https://127.0.0.1:@PORT@/x.git",
    "init takes an absolute path": "module from /etc",
    "validate executes every provider": "provider from elsewhere",
    "validate tells whether a file exists": "fileexists",
    "plan runs programs": "data external",
    "plan opens connections": "data http of the metadata",
    "plan shows files": "user data from a file",
    "plan shows files in messages": "validation that prints a file",
    "plan uses credentials": "provider with shared_credentials_files",
    "apply and test run programs": "local exec",
    "nested loops ignore SIGTERM": "three loops",
    "loops run for minutes": "loops over loops",
}
FORBIDDEN_NAMES = [
    "terraform.tfvars", "x.auto.tfvars", ".terraformrc", "terraform.rc", ".terraform.lock.hcl", "cli.tfrc",
    "loraform.tf.json", "x.tf.json", "x.tftest.hcl", "x.tfmock.hcl", "x.tofu", "/etc/x.tf", "../x.tf", "a/../../x.tf",
    "./x.tf", ".terraform/x.tf", "a/.terraform/x.tf", ".tf", "a//x.tf", "a\\x.tf", "a\0.tf", "a\n.tf", "x.tf\n",
    "~/x.tf", "$HOME/x.tf", "a b.tf", "\u202ext.tf", "a/b/c/d/e/f/x.tf", "a" * 200 + ".tf", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def verifiers(terraform: Terraform) -> Iterator[dict[bool, Verifier]]:
    """Verifiers by whether they are for bombs: those get one second of processor time a run."""
    with ProviderServers(terraform) as keeper:
        kept = Validator(terraform, Deadlines(run=20, program=0, waiting=20), keeper)
        yield {
            True: Verifier(terraform, Validator(terraform, Deadlines(run=1, program=0, waiting=30))),
            False: Verifier(terraform, kept),
        }


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that terraform children write during a test."""
    written: list[bytes] = []
    run = isolation.run

    def recorded(*arguments: object, **options: object) -> isolation.Finished:
        finished = run(*arguments, **options)  # type: ignore[arg-type] # passed on as they came
        written.extend((finished.stdout, finished.stderr))
        return finished

    monkeypatch.setattr(isolation, "run", recorded)
    return written


def armed(attack: Attack, planted: Planted, listeners: Listeners) -> Program:
    """Return the program with the secret's path and the listeners' port in it."""
    texts = {"": attack.text} | attack.files
    for name, text in texts.items():
        texts[name] = text.replace("@SECRET@", str(planted.file)).replace("@PORT@", str(listeners.port))
    return Program(id="hostile", text=texts.pop(""), files=texts)


def outcome(verdict: ProgramVerdict) -> Must:
    """Say what came of a program."""
    last = verdict.stages[-1]
    codes = {diagnostic.code for diagnostic in last.diagnostics}
    if verdict.passed:
        return Must.HARMLESS
    if last.stage is Stage.PARSE:
        return Must.UNREADABLE
    if codes == {"BlockedByPolicy"}:
        return Must.DENIED if last.inconclusive else Must.REFUSED
    if codes == {"ProviderMissing"}:
        return Must.ABSENT
    return Must.BOUNDED if codes <= GAVE_UP and last.inconclusive else Must.REFUSED


@pytest.mark.parametrize(
    "attack",
    [
        *(pytest.param(attack, id=f"drawn: {attack.name}") for attack in DRAWN),
        *(pytest.param(attack, id=attack.name, marks=pytest.mark.slow) for attack in ALL),
    ],
)
def test_a_hostile_program_gets_what_it_must_and_its_neighbours_what_is_theirs(
    attack: Attack,
    verifiers: dict[bool, Verifier],
    planted: Planted,
    listeners: Listeners,
    outputs: list[bytes],
) -> None:
    programs = [GOOD, armed(attack, planted, listeners), WRONG]
    answer = verifiers[attack in BOMBS].verify(VerifyRequest(programs=programs, stages=STAGES))
    good, hostile, wrong = answer.verdicts
    assert outcome(hostile) is attack.must, hostile
    assert good.passed
    assert [d.code for stage in wrong.stages for d in stage.diagnostics] == ["UnsupportedArgument"]
    assert outputs
    assert planted.mark.encode() not in b"".join(outputs)
    assert planted.mark not in answer.model_dump_json()


def test_all_hostile_programs_together_get_the_same_verdicts(
    verifiers: dict[bool, Verifier], planted: Planted, listeners: Listeners, outputs: list[bytes]
) -> None:
    attacks = [attack for attack in ALL if attack not in BOMBS]
    programs = [armed(a, planted, listeners).model_copy(update={"id": a.name}) for a in attacks]
    answer = verifiers[False].verify(VerifyRequest(programs=[GOOD, *programs, WRONG], stages=STAGES))
    good, *hostile, wrong = answer.verdicts
    assert {v.id: outcome(v) for v in hostile} == {a.name: a.must for a in attacks}
    assert (good.passed, outcome(wrong)) == (True, Must.REFUSED)
    assert planted.mark.encode() not in b"".join(outputs)


def test_the_rewritten_text_shows_nothing_and_is_judged_like_the_original(
    terraform: Terraform, planted: Planted, listeners: Listeners
) -> None:
    policy = HousePolicy(comment="# by the house", tags={"created_by": "house"})
    attacks = [attack for attack in ALL if attack not in BOMBS and attack.must is Must.DENIED]
    programs = [armed(a, planted, listeners).model_copy(update={"id": a.name}) for a in attacks]
    request = VerifyRequest(programs=programs, stages=STAGES, policy=policy, rewrite=True)
    answer = Verifier(terraform).verify(request)
    assert {v.id: outcome(v) for v in answer.verdicts} == {a.name: a.must for a in attacks}
    assert planted.mark not in answer.model_dump_json()


def test_every_measured_danger_has_its_attack_and_only_what_is_blanked_passes() -> None:
    by_name = {attack.name: attack for attack in ALL}
    assert len(by_name) == len(ALL)
    assert {danger: name for danger, name in MEASURED.items() if name not in by_name} == {}
    passing = {danger for danger, name in MEASURED.items() if by_name[name].must is Must.HARMLESS}
    assert passing == {"plan uses credentials"}  # the provider block never gets there


@pytest.mark.parametrize("name", FORBIDDEN_NAMES, ids=ascii)
def test_a_file_may_not_have_a_name_that_terraform_or_we_read_otherwise(name: str) -> None:
    with pytest.raises(ValidationError):
        Program(id="hostile", text="", files={name: ""})


@pytest.mark.parametrize("size", [200_001, 10_000_000])
def test_a_program_may_not_be_longer_than_its_bound(size: int) -> None:
    with pytest.raises(ValidationError, match="at most 200000 characters"):
        Program(id="hostile", text="#" * size)
