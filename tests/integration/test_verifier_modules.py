"""Programs of several files, local and mirrored modules, by terraform and by tofu."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from loraform_api.verification import Program, ProgramVerdict, Stage, VerifyRequest
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform, ToolchainError, discover
from loraform_verifier.verify import Verifier

STAGES = [Stage.FORMAT, Stage.PARSE, Stage.VALIDATE]
VPC = 'resource "aws_vpc" "this" {\n  cidr_block = var.cidr\n}\n'
CIDR = 'variable "cidr" {\n  type = string\n}\n'


def mirror_of(folder: Path, host: str) -> Path:
    """Write a module mirror with one module that has a module of its own."""
    module = folder / host / "acme/net/aws/1.2.3"
    (module / "modules/sub").mkdir(parents=True)
    (module / "main.tf").write_text(
        'terraform {\n  required_providers {\n    aws = {\n      source  = "hashicorp/aws"\n'
        '      version = ">= 5.0"\n    }\n  }\n}\n'
        + CIDR
        + 'module "sub" {\n  source = "./modules/sub"\n  cidr   = var.cidr\n}\n'
    )
    (module / "modules/sub/main.tf").write_text(CIDR + VPC)
    return folder


@pytest.fixture(scope="module", params=["terraform", "tofu"])
def terraform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not on PATH; `make test` builds it")
    try:
        found = discover(request.param)
        return discover(request.param, modules=str(mirror_of(tmp_path_factory.mktemp("modules"), found.registry)))
    except ToolchainError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def verifier(terraform: Terraform) -> Iterator[Verifier]:
    with ProviderServers(terraform) as keeper:
        yield Verifier(terraform, servers=keeper)


def program(id: str, text: str = "", **files: str) -> Program:
    return Program(id=id, text=text, files={name.replace("__", "/") + ".tf": text for name, text in files.items()})


ALIASED = "terraform {\n  required_providers {\n    aws = {\n      configuration_aliases = [aws.west]\n    }\n  }\n}\n"


def call(source: str, *arguments: str) -> str:
    """Return a module call as `terraform fmt` writes it."""
    lines = [f'source = "{source}"', *arguments]
    width = max(len(line.partition(" =")[0]) for line in lines)
    aligned = [f"  {name:<{width}} = {value}\n" for name, _, value in (line.partition(" = ") for line in lines)]
    return f'module "net" {{\n{"".join(aligned)}}}\n'


WEST = 'resource "aws_vpc" "a" {\n  provider   = aws.west\n  cidr_block = "10.0.0.0/16"\n}\n'
TEN = 'cidr = "10.0.0.0/16"'
PROGRAMS = [
    program("files", variables=CIDR, vpc=VPC),
    program("wrong file", variables=CIDR, vpc=VPC.replace("cidr_block", "cidr_blok")),
    program(
        "across files", "locals {\n  a = local.b\n}\n", other='resource "aws_vpc" "a" {\n  cidr_block = local.zz\n}\n'
    ),
    program("duplicate", CIDR, other=CIDR),
    program("local", call("./net", TEN), net__main=CIDR + VPC),
    program("local, argument missing", call("./net"), net__main=CIDR + VPC),
    program("local, wrong inside", call("./net"), net__main=VPC),
    program(
        "local, with alias",
        'provider "aws" {\n  alias = "west"\n}\n'
        'module "net" {\n  source = "./net"\n  providers = {\n    aws.west = aws.west\n  }\n}\n',
        net__main=ALIASED + WEST,
    ),
    program(
        "local, with an alias of its own",
        call("./net"),
        net__main='provider "aws" {\n  alias  = "west"\n  region = "us-west-2"\n}\n' + WEST,
    ),
    program(
        "local, with an alias that may be handed in",
        'provider "aws" {\n  alias = "far"\n}\n'
        'module "net" {\n  source = "./net"\n  providers = {\n    aws.west = aws.far\n  }\n}\n',
        net__main='provider "aws" {\n  alias = "west"\n}\n' + WEST,
    ),
    program(
        "local, wrong in its provider",
        call("./net"),
        net__main='provider "aws" {\n  region = var.nope\n}\n' + WEST.replace("  provider   = aws.west\n", ""),
    ),
    program("local, without a source inside", call("./net"), net__main='module "m" {\n}\n'),
    program("mirrored", call("acme/net/aws", 'version = "~> 1.2"', TEN)),
    program("mirrored, argument unknown", call("acme/net/aws", TEN, "cdir = 1")),
    program("not mirrored", call("acme/other/aws")),
    program("unformatted", "locals {\n  a   =   1\n}\n"),
]
FOUND = {
    "files": set(),
    "wrong file": {("vpc.tf", 2, "UnsupportedArgument")},
    "across files": {
        ("main.tf", 2, "ReferenceToUndeclaredLocalValue"),
        ("other.tf", 2, "ReferenceToUndeclaredLocalValue"),
    },
    "duplicate": {("other.tf", 1, "DuplicateVariableDeclaration")},
    "local": set(),
    "local, argument missing": {("main.tf", 1, "MissingRequiredArgument")},
    "local, wrong inside": {("net/main.tf", 2, "ReferenceToUndeclaredInputVariable")},
    "local, with alias": set(),
    "local, with an alias of its own": set(),
    "local, with an alias that may be handed in": set(),
    "local, wrong in its provider": {("net/main.tf", 2, "ReferenceToUndeclaredInputVariable")},
    "local, without a source inside": {("net/main.tf", 1, "MissingRequiredArgument")},
    "mirrored": set(),
    "mirrored, argument unknown": {("main.tf", 4, "UnsupportedArgument")},
    "not mirrored": {("main.tf", 1, "BlockedByPolicy")},
    "unformatted": {("main.tf", None, "NotFormatted")},
}


def places(verdict: ProgramVerdict) -> set[tuple[str | None, int | None, str]]:
    return {(d.file, d.line, d.code) for r in verdict.stages for d in r.diagnostics}


def test_every_finding_names_the_file_it_is_in(verifier: Verifier) -> None:
    verdicts = verifier.verify(VerifyRequest(programs=PROGRAMS, stages=STAGES)).verdicts
    found = {v.id: places(v) for v in verdicts}
    assert found == FOUND


def test_a_program_alone_gets_the_verdict_it_gets_among_others(verifier: Verifier) -> None:
    for name in ("local, with alias", "mirrored, argument unknown"):
        wanted = next(p for p in PROGRAMS if p.id == name)
        (verdict,) = verifier.verify(VerifyRequest(programs=[wanted], stages=STAGES)).verdicts
        assert places(verdict) == FOUND[name]


def test_a_path_is_planned_as_it_is_alone(verifier: Verifier) -> None:
    queue = 'resource "aws_sqs_queue" "q" {\n  name = "a-${path.module}"\n}\n'
    programs = [program("root", queue), program("module", call("./net"), net__main=queue)]
    stages = [Stage.VALIDATE, Stage.PLAN]
    root, module = verifier.verify(VerifyRequest(programs=programs, stages=stages)).verdicts
    assert places(root) == {("main.tf", 1, "InvalidValue")}  # a dot may not be in its name
    assert module.passed


def test_a_default_provider_that_is_handed_on_by_name_is_there(verifier: Verifier) -> None:
    text = 'provider "aws" {\n}\nmodule "net" {\n  source = "./net"\n  providers = {\n    aws = aws\n  }\n}\n'
    programs = [program("handed on", text, net__main=WEST.replace("aws.west", "aws")), program("wrong", VPC)]
    stages = [Stage.VALIDATE, Stage.PLAN]
    handed_on, wrong = verifier.verify(VerifyRequest(programs=programs, stages=stages)).verdicts
    assert handed_on.passed, handed_on
    assert places(wrong) == {("main.tf", 2, "ReferenceToUndeclaredInputVariable")}
