"""The house policy on real plans: called modules are judged by what is planned of them, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loraform_api.verification import DefaultTags, DenyRule, Diagnostic, HousePolicy, Program, Stage, VerifyRequest
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform, discover
from loraform_verifier.verify import Verifier

STAGES = [Stage.PARSE, Stage.VALIDATE, Stage.PLAN, Stage.POLICY]
POLICY = HousePolicy(
    tags={"by": "us"},
    deny=[
        DenyRule(name="not-public", types=["aws_db_*"], argument="publicly_accessible", values=["true"]),
        DenyRule(name="no-keys", types=["aws_iam_access_key"]),
    ],
)
COUNTING = POLICY.model_copy(update={"default_tags": DefaultTags.COUNTED})
VARIABLES = 'variable "public" {\n  default = false\n}\n\nvariable "tags" {\n  default = { by = "us" }\n}\n\n'
DATABASE = """resource "aws_db_instance" "d" {
  instance_class      = "db.t3.micro"
  allocated_storage   = 10
  engine              = "mysql"
  username            = "a"
  password            = "changeme1"
  skip_final_snapshot = true
  publicly_accessible = var.public
  tags                = var.tags
}
"""
KEY = 'resource "aws_iam_access_key" "k" {\n  user = "u"\n}\n'


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory, terraform: Terraform) -> Iterator[Verifier]:
    mirror = tmp_path_factory.mktemp("modules")
    module = mirror / terraform.registry / "acme/db/aws/1.0.0"
    (module / "keys").mkdir(parents=True)
    (module / "main.tf").write_text(VARIABLES + DATABASE)
    (module / "keys/main.tf").write_text(KEY)
    with ProviderServers(terraform) as keeper:
        yield Verifier(discover(str(terraform.binary), modules=str(mirror)), servers=keeper)


def call(source: str, arguments: str = "", name: str = "db") -> str:
    return f'module "{name}" {{\n  source = "{source}"\n  {arguments}\n}}\n'


def judged(verifier: Verifier, texts: dict[str, str], policy: HousePolicy = POLICY) -> dict[str, list[Diagnostic]]:
    """Return what Policy finds in programs that may call a module of their own in `db`."""
    files = {"db/main.tf": VARIABLES + DATABASE}
    programs = [Program(id=name, text=text, files=files if "./db" in text else {}) for name, text in texts.items()]
    verdicts = verifier.verify(VerifyRequest(programs=programs, stages=STAGES, policy=policy)).verdicts
    assert [v.id for v in verdicts if len(v.stages) < len(STAGES)] == []
    return {v.id: v.stages[-1].diagnostics for v in verdicts}


CALLS: dict[str, tuple[str, list[str]]] = {
    "good": ("", []),
    "public": ("public = true", ["PolicyDenied"]),
    "wrong": ('tags = { by = "them" }', ["TagWrong"]),
    "counted": ("tags = {}\n  count = 2", ["TagMissing"]),
    "for each": ('for_each = { "a.b" = true }\n  public = each.value', ["PolicyDenied"]),
}


@pytest.mark.parametrize(
    ("source", "place"), [("./db", ("db/main.tf", 9)), ("acme/db/aws", ("main.tf", 5))], ids=["local", "mirrored"]
)
def test_a_called_module_is_judged_by_its_planned_values(
    verifier: Verifier, source: str, place: tuple[str, int]
) -> None:
    fine = call("./db", name="fine")
    found = judged(verifier, {name: fine + call(source, arguments) for name, (arguments, _) in CALLS.items()})
    places = {name: [(d.code, d.file, d.line) for d in some] for name, some in found.items()}
    assert places == {name: [(code, *place) for code in codes] for name, (_, codes) in CALLS.items()}


def test_what_a_mirrored_module_makes_can_be_denied_by_type(verifier: Verifier) -> None:
    (found,) = judged(verifier, {"keys": call("acme/db/aws//keys")})["keys"]
    assert (found.code, found.file, found.line) == ("PolicyDenied", "main.tf", 1)
    assert found.message.startswith("module.db.aws_iam_access_key.k: no-keys:")


DEFAULTS = """provider "aws" {
  default_tags {
    tags = %s
  }
}

variable "by" {
  default = "us"
}

locals {
  tags = { by = var.by }
}

"""
DEFAULT_TAGS = {
    "local.tags": [],
    "{ by = var.by }": [],
    '{ by = "them" }': ["TagWrong"],
    "{}": ["TagMissing"],
    "merge(local.tags, {})": ["TagUndecided"],
}


@pytest.mark.parametrize(
    "resource",
    ['resource "aws_vpc" "v" {\n  cidr_block = "10.0.0.0/16"\n}\n', call("acme/db/aws", "tags = null")],
    ids=["own", "mirrored"],
)
def test_default_tags_are_read_through_locals_and_variables(verifier: Verifier, resource: str) -> None:
    found = judged(verifier, {tags: DEFAULTS % tags + resource for tags in DEFAULT_TAGS}, COUNTING)
    assert {tags: [d.code for d in some] for tags, some in found.items()} == DEFAULT_TAGS


def test_a_region_given_by_a_variable_is_the_plans(verifier: Verifier) -> None:
    text = """provider "aws" {
  region = var.region
}
variable "region" {
  default = "eu-west-1"
}
data "aws_region" "current" {}
resource "aws_vpc" "v" {
  cidr_block = "10.0.0.0/16"
  tags       = { by = data.aws_region.current.name }
}
"""
    (found,) = judged(verifier, {"region": text})["region"]
    assert found.message == "aws_vpc.v: tag by is 'eu-west-1'; it must be 'us'."
