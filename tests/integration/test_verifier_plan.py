"""Planning batches with the real terraform: each program gets the plan that it has alone, whoever is beside it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from loraform_verifier.hcl.configuration import Configuration
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.hcl.normalise import normalise
from loraform_verifier.hcl.parse import parse
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import Deadlines
from loraform_verifier.terraform.plan import Planner, PlanOutcome
from loraform_verifier.terraform.plan_json import with_changes
from loraform_verifier.terraform.plan_run import PLAN, SHOW
from loraform_verifier.terraform.plannable import Plannable, plannable
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform, child_environment

from ..drawn import some_of_each
from .lone_plan import lay_out_plan_alone

SUITE = Path(__file__).resolve().parents[3] / "shared/data/iac-eval-dev.jsonl"
READ_BY_POLICIES = ("resource_changes", "planned_values", "configuration", "prior_state", "variables")
Files = str | dict[str, str]

VPC = 'resource "aws_vpc" "a" {\n  cidr_block = "10.0.0.0/16"\n}\n'
SUBNET = 'resource "aws_subnet" "s" {\n  vpc_id     = aws_vpc.a.id\n  cidr_block = "10.0.1.0/24"\n'
AMI = 'data "aws_ami" "a" {\n  most_recent = true\n  owners      = ["amazon"]\n}\n'
INSTANCE = 'resource "aws_instance" "i" {\n  ami           = data.aws_ami.a.id\n  instance_type = "t3.micro"\n}\n'
INPUT = 'variable "n" {\n  type = number\n}\n'
TABLE = """resource "aws_dynamodb_table" "t" {
  name         = "t"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  attribute {
    name = "id"
    type = "S"
  }
  attribute {
    name = "unused"
    type = "S"
  }
}
"""
POLICY = """data "aws_iam_policy_document" "known" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}
data "aws_iam_policy_document" "later" {
  statement {
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.b.arn}/*"]
  }
}
resource "aws_s3_bucket" "b" {
}
resource "aws_iam_role" "r" {
  assume_role_policy = data.aws_iam_policy_document.known.json
}
resource "aws_s3_bucket_policy" "p" {
  bucket = aws_s3_bucket.b.id
  policy = data.aws_iam_policy_document.later.json
}
"""
VARIABLES = """variable "number" {
  type    = string
  default = 3
}
variable "nothing" {
  default = null
}
variable "secret" {
  default   = "s"
  sensitive = true
}
variable "object" {
  type    = object({ x = optional(number, 2) })
  default = {}
}
resource "aws_ssm_parameter" "p" {
  name        = "p"
  type        = "SecureString"
  value       = var.secret
  description = "${var.number} ${coalesce(var.nothing, "none")} ${var.object.x}"
}
"""
DYNAMIC = """resource "aws_security_group" "g" {
  dynamic "ingress" {
    for_each = [80, 443]
    content {
      from_port   = ingress.value
      to_port     = ingress.value
      protocol    = "tcp"
      cidr_blocks = ["10.0.0.0/8"]
    }
  }
}
"""
MODULES = {
    "main.tf": 'module "net" {\n  source   = "./net"\n  for_each = toset(["x", "y"])\n  cidr     = "10.0.0.0/16"\n}\n',
    "net/main.tf": 'variable "cidr" {\n}\nresource "aws_vpc" "v" {\n  cidr_block = var.cidr\n}\n'
    'module "deep" {\n  source = "../deep"\n}\n',
    "deep/main.tf": 'resource "aws_eip" "e" {\n  count = 2\n}\n',
}
SAME_ALONE: dict[str, Files] = {
    "resource": VPC,
    "count": VPC + SUBNET + "  count = 2\n}\n",
    "for each": VPC + SUBNET + '  for_each = { "a.b" = 1, "module.r1.x" = 2, "c]" = 3 }\n}\n',
    "policy documents": POLICY,
    "variables": VARIABLES,
    "dynamic block": DYNAMIC,
    "modules": MODULES,
    "several files": {"a.tf": VPC, "b.tf": SUBNET + "}\n"},
    "moved": "moved {\n  from = aws_vpc.old\n  to   = aws_vpc.a\n}\n" + VPC,
    "our own resource's name": 'resource "terraform_data" "unknown" {\n  input = "x"\n}\n' + VPC,
    "locals and functions": 'locals {\n  c = cidrsubnet("10.0.0.0/8", 8, 3)\n}\n'
    + VPC.replace('"10.0.0.0/16"', "local.c"),
    "no provider": 'resource "terraform_data" "t" {\n  input = "x"\n}\n',
    "nothing to plan": "locals {\n}\n",
}

CONSTRUCTS = {
    "files": ("modules", "several files"),
    "instances": ("count", "for each", "dynamic block"),
    "data": ("policy documents",),
    "values": ("variables", "locals and functions"),
    "names": ("moved", "our own resource's name"),
    "little": ("resource", "no provider", "nothing to plan"),
}


@pytest.fixture(scope="module")
def keeper(terraform: Terraform) -> Iterator[ProviderServers]:
    with ProviderServers(terraform) as keeper:
        yield keeper


def described(program: Files) -> Plannable:
    files = program if isinstance(program, dict) else {"main.tf": program}
    configuration = Configuration({name: parse(text) for name, text in files.items()})
    assert configuration.problems == []
    modules = modules_of(configuration, "registry.terraform.io", None)
    return plannable(configuration, normalise(configuration, modules), modules)


def planned(planner: Planner, programs: Mapping[str, Files]) -> dict[str, PlanOutcome]:
    return dict(zip(programs, planner.plan([described(p) for p in programs.values()]), strict=True))


def plan_of(outcome: PlanOutcome) -> dict[str, Any]:
    assert outcome.plan is not None, outcome
    return outcome.plan


def after(outcome: PlanOutcome, address: str) -> dict[str, Any]:
    (found,) = (c["change"]["after"] for c in plan_of(outcome)["resource_changes"] if c["address"] == address)
    assert isinstance(found, dict)
    return found


def alone(terraform: Terraform, keeper: ProviderServers, program: Files) -> dict[str, Any]:
    """Return the plan of a program as the root module, made by the same commands."""
    with isolation.private_folder() as root:
        lay_out_plan_alone(root, terraform, described(program).program)
        env = child_environment(root) | keeper.environment(["aws"])
        for arguments in (PLAN, SHOW):
            command = [str(terraform.binary), *arguments]
            finished = isolation.run(command, cwd=root, env=env, seconds=120, readable=terraform.readable)
            assert finished.returncode == 0, finished.stdout
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def as_policies_read(plan: dict[str, Any]) -> dict[str, Any]:
    """Return what a plan alone and one out of a batch share; provider arguments of ours are in the former only."""
    found = {name: plan.get(name) or None for name in READ_BY_POLICIES}
    found["configuration"] = plan["configuration"]["root_module"]
    modules = plan["planned_values"]["root_module"].get("child_modules", [])
    modules.sort(key=lambda module: module["address"])  # terraform's order is a different one each time
    return found


@pytest.fixture(scope="module")
def in_company(terraform: Terraform, keeper: ProviderServers) -> dict[str, PlanOutcome]:
    """All of SAME_ALONE planned in one batch."""
    return planned(Planner(terraform, servers=keeper), SAME_ALONE)


def construct_of(name: str) -> list[str]:
    return [construct for construct, names in CONSTRUCTS.items() if name in names]


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, id=f"drawn: {name}") for name in some_of_each(list(SAME_ALONE), construct_of)),
        *(pytest.param(name, id=name, marks=pytest.mark.slow) for name in SAME_ALONE),
    ],
)
def test_a_plan_out_of_a_batch_is_the_plan_of_the_program_alone(
    terraform: Terraform, keeper: ProviderServers, in_company: dict[str, PlanOutcome], name: str
) -> None:
    assert as_policies_read(plan_of(in_company[name])) == as_policies_read(alone(terraform, keeper, SAME_ALONE[name]))


def test_planned_values_made_from_changes_are_those_that_terraform_makes(in_company: dict[str, PlanOutcome]) -> None:
    for name, outcome in in_company.items():
        plan = plan_of(outcome)
        assert with_changes(plan, plan["resource_changes"])["planned_values"] == plan["planned_values"], name


# What `validate` cannot know, and what it would have said before.
FAILING: dict[str, tuple[Files, set[tuple[str, int | None]]]] = {
    "provider's check of the plan": (TABLE, {("InvalidValue", 1)}),
    "unknown instances": (VPC + SUBNET + "  count = length(aws_vpc.a.arn)\n}\n", {("InvalidCountArgument", 7)}),
    "unknown type": ('resource "aws_vpcc" "a" {\n}\n', {("InvalidResourceType", 1)}),
    "cycle": ("locals {\n  a = local.b\n  b = local.a\n}\n", {("Cycle", None)}),
    "in data's program": (AMI + TABLE, {("InvalidValue", 5)}),
    "of data's values": (AMI + 'output "o" {\n  value = data.aws_ami.a.nope\n}\n', {("UnsupportedAttribute", 6)}),
}
UNDECIDED: dict[str, tuple[Files, str]] = {
    "instances by input": (INPUT + VPC.replace("cidr", "count = var.n\n  cidr"), "DependsOnInput"),
    "instances by data by input": (
        'variable "v" {\n}\ndata "aws_subnets" "s" {\n  filter {\n    name   = "vpc-id"\n    values = [var.v]\n  }\n}\n'
        + VPC.replace("cidr", "count = length(data.aws_subnets.s.ids)\n  cidr"),
        "DependsOnInput",
    ),
    "account": (VPC + 'ephemeral "aws_secretsmanager_secret_version" "s" {\n  secret_id = "x"\n}\n', "NeedsNetwork"),
    "provider": ('resource "random_id" "r" {\n  byte_length = 2\n}\n', "ProviderMissing"),
}


def test_each_program_of_a_batch_fails_for_itself(terraform: Terraform, keeper: ProviderServers) -> None:
    programs = {name: text for name, (text, _) in (FAILING | UNDECIDED).items()}
    outcomes = planned(Planner(terraform, servers=keeper), programs | {"sound": VPC, "reading": AMI + INSTANCE})
    failed = {n: {(d.code, d.line) for d in o.errors} for n, o in outcomes.items() if o.errors}
    assert failed == {name: wanted for name, (_, wanted) in FAILING.items()}
    undecided = {name: o.undecided.code for name, o in outcomes.items() if o.undecided}
    assert undecided == {name: wanted for name, (_, wanted) in UNDECIDED.items()}
    assert {name for name, o in outcomes.items() if o.plan is not None} == {"sound", "reading"}


READING: dict[str, Files] = {
    "zones": 'data "aws_availability_zones" "z" {\n}\n'
    + VPC
    + SUBNET.replace('"10.0.1.0/24"', '"10.0.${count.index}.0/24"')
    + "  count             = length(data.aws_availability_zones.z.names)\n"
    + "  availability_zone = data.aws_availability_zones.z.names[count.index]\n}\n",
    "image": AMI + INSTANCE,
    "each": 'data "aws_subnets" "s" {\n}\ndata "aws_subnet" "s" {\n  for_each = toset(data.aws_subnets.s.ids)\n'
    '  id       = each.value\n}\nresource "aws_lb" "l" {\n  subnets = [for s in data.aws_subnet.s : s.id]\n}\n',
    "counted": 'data "aws_vpc" "v" {\n  count   = 2\n  default = true\n}\n'
    + VPC.replace('"10.0.0.0/16"', "data.aws_vpc.v[1].cidr_block"),
    "module": {"main.tf": MODULES["main.tf"], "net/main.tf": 'variable "cidr" {\n}\n' + AMI + INSTANCE},
    "identity": 'data "aws_caller_identity" "me" {\n}\nresource "aws_s3_bucket" "b" {\n'
    '  bucket = "logs-${data.aws_caller_identity.me.account_id}"\n}\n',
    "input": 'variable "v" {\n}\ndata "aws_vpc" "v" {\n  id = var.v\n}\n'
    + SUBNET.replace("aws_vpc.a", "data.aws_vpc.v")
    + "}\n",
    "failing check": f'check "c" {{\n{AMI}  assert {{\n    condition     = false\n    error_message = "x"\n  }}\n}}\n'
    + VPC,
}


def test_data_that_an_account_is_asked_for_have_values(terraform: Terraform, keeper: ProviderServers) -> None:
    outcomes = planned(Planner(terraform, servers=keeper), READING)
    zones = [after(outcomes["zones"], f"aws_subnet.s[{i}]")["availability_zone"] for i in range(3)]
    assert zones == ["us-east-1a", "us-east-1b", "us-east-1c"]
    assert after(outcomes["image"], "aws_instance.i")["ami"] == "ami-0123456789abcdef0"
    assert len(after(outcomes["each"], "aws_lb.l")["subnets"]) == 3
    assert after(outcomes["counted"], "aws_vpc.a")["cidr_block"] == "10.0.0.0/16"
    assert after(outcomes["module"], 'module.net["x"].aws_instance.i')["ami"] == "ami-0123456789abcdef0"
    assert after(outcomes["identity"], "aws_s3_bucket.b")["bucket"] == "logs-123456789012"
    assert "vpc_id" not in after(outcomes["input"], "aws_subnet.s")
    assert after(outcomes["failing check"], "aws_vpc.a")
    for name, outcome in outcomes.items():
        assert plan_of(outcome)["planned_values"]["root_module"], name
        assert plan_of(outcome)["configuration"]["root_module"], name
    assert "count_expression" in json.dumps(plan_of(outcomes["zones"])["configuration"])


@pytest.fixture(scope="module")
def beside_a_failing_one(terraform: Terraform, keeper: ProviderServers) -> dict[str, PlanOutcome]:
    programs = {"failing": AMI + TABLE, "zones": READING["zones"], "resource": VPC}
    return planned(Planner(terraform, servers=keeper), programs)


@pytest.mark.parametrize("name", ["zones", "resource"])
def test_a_plan_comes_out_the_same_whatever_its_neighbours(
    terraform: Terraform, keeper: ProviderServers, beside_a_failing_one: dict[str, PlanOutcome], name: str
) -> None:
    alone_in_its_batch = planned(Planner(terraform, servers=keeper), {name: (READING | SAME_ALONE)[name]})
    assert alone_in_its_batch[name] == beside_a_failing_one[name]


def test_programs_have_their_own_region_and_default_tags(terraform: Terraform) -> None:
    provider = 'provider "aws" {\n  region = "eu-west-1"\n  default_tags {\n    tags = { team = "$${x}" }\n  }\n}\n'
    aliased = 'provider "aws" {\n  alias = "west"\n}\n' + VPC.replace("cidr", "provider = aws.west\n  cidr")
    region = 'data "aws_region" "r" {\n}\noutput "r" {\n  value = data.aws_region.r.name\n}\n'
    outcomes = planned(Planner(terraform), {"tagged": provider + VPC + region, "plain": VPC + region, "alias": aliased})
    assert after(outcomes["tagged"], "aws_vpc.a")["tags_all"] == {"team": "${x}"}
    assert "tags_all" not in after(outcomes["plain"], "aws_vpc.a")
    assert after(outcomes["alias"], "aws_vpc.a")
    regions = [plan_of(outcomes[n])["prior_state"]["values"]["root_module"]["resources"] for n in ("tagged", "plain")]
    assert [resources[0]["values"]["name"] for resources in regions] == ["eu-west-1", "us-east-1"]


def test_after_the_deadline_nothing_is_decided(terraform: Terraform) -> None:
    (outcome,) = Planner(terraform, Deadlines(request=0)).plan([described(VPC)])
    assert (outcome.plan, outcome.errors) == (None, [])
    assert outcome.undecided is not None
    assert outcome.undecided.code == "Timeout"


def test_a_kept_provider_that_died_is_replaced_and_nothing_is_left_behind(
    terraform: Terraform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ProviderServers(terraform) as keeper:
        for address in json.loads(keeper.environment(["aws"])["TF_REATTACH_PROVIDERS"]).values():
            os.kill(address["Pid"], signal.SIGKILL)
        (outcome,) = Planner(terraform, servers=keeper).plan([described(VPC)])
    assert after(outcome, "aws_vpc.a")["cidr_block"] == "10.0.0.0/16"
    assert list(tmp_path.iterdir()) == []


SUITE_PROGRAMS: dict[str, Files] = {
    f"{row['id']} {column}": row[column]
    for row in (json.loads(line) for line in (SUITE.read_text().splitlines() if SUITE.exists() else ()))
    for column in ("reference", "response")
}
SUITE_DRAWN = some_of_each(list(SUITE_PROGRAMS), lambda name: [name.rpartition(" ")[2]], count=15)


@pytest.mark.skipif(not SUITE.exists(), reason="the development suite is not beside this checkout")
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(SUITE_DRAWN, id="drawn"),
        pytest.param(list(SUITE_PROGRAMS), id="all", marks=pytest.mark.slow),
    ],
)
def test_programs_of_the_development_suite_plan_as_they_do_alone(
    terraform: Terraform, keeper: ProviderServers, names: list[str]
) -> None:
    outcomes = planned(Planner(terraform, servers=keeper), {name: SUITE_PROGRAMS[name] for name in names})
    assert [name for name, outcome in outcomes.items() if outcome.plan is None] == []
    for name in names[:: max(15, len(names) // 5)]:
        assert as_policies_read(plan_of(outcomes[name])) == as_policies_read(
            alone(terraform, keeper, SUITE_PROGRAMS[name])
        ), name
