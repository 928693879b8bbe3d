"""Which provider blocks need no run of their own to be judged."""

from __future__ import annotations

import pytest

from loraform_verifier.hcl.parse import parse
from loraform_verifier.hcl.plain_providers import is_plain

VARIABLES = """variable "text" {
  type = string
}
variable "untyped" {
}
variable "list" {
  type = list(string)
}
"""


def plain(body: str, name: str = "aws") -> bool:
    document = parse(f'{VARIABLES}provider "{name}" {{\n{body}\n}}\n')
    assert document.problems == ()
    return is_plain(document.blocks)


@pytest.mark.parametrize(
    "body",
    [
        "",
        'alias = "west"',
        'region = "eu-west-1"\nprofile = null\naccess_key = 5',
        "region = var.text\ntoken = var.untyped",
        "default_tags {\n}",
        'default_tags {\n  tags = { a = "b", "c" = var.text, d = 1 }\n}',
    ],
)
def test_texts_variables_and_default_tags_are_plain(body: str) -> None:
    assert plain(body)


@pytest.mark.parametrize(
    "body",
    [
        'regiom = "eu-west-1"',
        'region = ["eu-west-1"]',
        "region = local.region",
        "region = var.list",
        "region = var.undeclared",
        "region = var.text.a",
        'region = "${var.text}"',
        "max_retries = 5",
        'version = "~> 5.0"',
        'assume_role {\n  role_arn = "x"\n}',
        "default_tags {\n  tags = local.tags\n}",
        "default_tags {\n  tags = { a = local.b }\n}",
        "default_tags {\n  tags = { (var.text) = 1 }\n}",
        "default_tags {\n  tagz = {}\n}",
        "default_tags {\n}\ndefault_tags {\n}",
        'dynamic "default_tags" {\n  for_each = [1]\n  content {\n  }\n}',
    ],
)
def test_what_terraform_or_the_provider_may_refuse_is_not_plain(body: str) -> None:
    assert not plain(body)


def test_an_unknown_providers_settings_are_not_plain() -> None:
    assert plain("", "google")
    assert not plain('region = "eu-west-1"', "google")
