"""What Plan needs of a program: provider settings and data sources that read an account."""

from __future__ import annotations

from pathlib import Path

from loraform_verifier.hcl.configuration import Configuration, single_file
from loraform_verifier.hcl.modules import modules_of
from loraform_verifier.hcl.normalise import normalise
from loraform_verifier.hcl.parse import parse
from loraform_verifier.terraform.plannable import DataRead, Plannable, ProviderSettings, plannable, settings_of

READ = 'data "aws_ami" "a" {\n  owners = ["amazon"]\n}\n'


def described(files: dict[str, str], mirror: Path | None = None) -> Plannable:
    configuration = Configuration({name: parse(text) for name, text in files.items()})
    modules = modules_of(configuration, "registry.terraform.io", mirror)
    assert modules.refused == []
    return plannable(configuration, normalise(configuration, modules), modules)


def test_region_and_default_tags_come_from_the_default_provider() -> None:
    text = """provider "aws" {
  alias  = "west"
  region = "us-west-2"
}
provider "aws" {
  region = "eu-west-1"
  default_tags {
    tags = { team = "core", size = 3 }
  }
}
"""
    assert settings_of(single_file(text)) == ProviderSettings("eu-west-1", {"team": "core", "size": "3"})


def test_without_a_provider_block_the_settings_are_the_defaults() -> None:
    assert settings_of(single_file('provider "google" {\n  region = "eu-west-1"\n}\n')) == ProviderSettings(
        "us-east-1", {}
    )


def provider(region: str, tags: str) -> str:
    return f'provider "aws" {{\n  region = {region}\n  default_tags {{\n    tags = {tags}\n  }}\n}}\n'


def test_default_tags_that_must_be_evaluated_are_left_out_and_flagged() -> None:
    tags = provider('"us-east-1"', '{ a = "b", c = var.c, (var.d) = "e" }')
    assert settings_of(single_file(tags)) == ProviderSettings("us-east-1", {"a": "b"}, incomplete=True)
    for unread in ("local.tags", "merge(local.a, local.b)", "var.list[0]"):
        assert settings_of(single_file(provider('"us-east-1"', unread))) == ProviderSettings(incomplete=True)
    dynamic = 'provider "aws" {\n  dynamic "default_tags" {\n    for_each = var.x\n    content {\n    }\n  }\n}\n'
    assert settings_of(single_file(dynamic)) == ProviderSettings(incomplete=True)
    assert settings_of(single_file('provider "aws" {\n  region = var.region\n}\n')) == ProviderSettings("us-east-1")


def test_literals_are_found_through_defaults_of_variables_and_through_locals() -> None:
    files = {
        "main.tf": provider("(var.region)", "local.tags"),
        "locals.tf": 'locals {\n  tags = { team = var.team, by = local.by }\n  by   = "us"\n}\n',
        "variables.tf": 'variable "region" {\n  default = "eu-west-1"\n}\nvariable "team" {\n  default = 7\n}\n',
        "net/main.tf": 'locals {\n  by = "them"\n}\n',
    }
    assert described(files).settings == ProviderSettings("eu-west-1", {"team": "7", "by": "us"})


def test_circular_locals_end() -> None:
    text = provider("local.a", "{ b = local.b }") + "locals {\n  a = local.b\n  b = local.a\n}\n"
    assert settings_of(single_file(text)) == ProviderSettings("us-east-1", {}, incomplete=True)


def test_an_invalid_region_is_ignored() -> None:
    assert settings_of(single_file('provider "aws" {\n  region = "$${file(x)}"\n}\n')) == ProviderSettings(
        "us-east-1", {}
    )


def test_equal_settings_share_a_key_whatever_their_order() -> None:
    one, other = ProviderSettings("a", {"x": "1", "y": "2"}), ProviderSettings("a", {"y": "2", "x": "1"}, True)
    assert one.key == other.key
    assert one.key != ProviderSettings("b", {"x": "1", "y": "2"}).key


def test_data_sources_that_read_an_account_are_listed_with_their_arguments() -> None:
    local = 'data "aws_region" "r" {\n}\ndata "aws_iam_policy_document" "d" {\n}\n'
    found = described({"main.tf": local, "data.tf": READ})
    assert found.reads == (DataRead("data.aws_ami.a", "aws_ami", frozenset({"owners"})),)


def test_called_modules_are_searched_too() -> None:
    calls = 'module "net" {\n  source = "./net"\n}\n'
    found = described(
        {"main.tf": calls, "net/main.tf": 'module "deep" {\n  source = "../deep"\n}\n', "deep/a.tf": READ}
    )
    assert [read.address for read in found.reads] == ["module.net.module.deep.data.aws_ami.a"]


def test_mirrored_modules_are_searched_too(tmp_path: Path) -> None:
    folder = tmp_path / "registry.terraform.io/acme/net/aws/1.2.0"
    folder.mkdir(parents=True)
    (folder / "main.tf").write_text(READ)
    found = described({"main.tf": 'module "net" {\n  source = "acme/net/aws"\n}\n'}, tmp_path)
    assert [read.address for read in found.reads] == ["module.net.data.aws_ami.a"]


def test_checks_are_blanked_with_the_data_inside_them() -> None:
    moving = "locals {\n  a = path.module\n}\n"
    check = f'check "c" {{\n{READ}assert {{\n  condition = true\n  error_message = "é"\n}}\n}}\n'
    after = 'resource "aws_vpc" "v" {\n}\n'
    found = described({"main.tf": moving + check + after})
    text = found.program.files["main.tf"].decode()
    assert found.reads == ()
    assert text.count("\n") == (moving + check + after).count("\n")
    assert text.split() == (moving.replace("path.module", '"."') + after).split()


def test_outputs_without_sensitive_are_listed() -> None:
    text = 'output "a" {\n  value = 1\n}\noutput "b" {\n  value     = 1\n  sensitive = true\n}\n'
    configuration = single_file(text)
    found = plannable(configuration, normalise(configuration)).outputs
    assert [(o.name, o.file, o.line) for o in found] == [("a", "main.tf", 1)]
