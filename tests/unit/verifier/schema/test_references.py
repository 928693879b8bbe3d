"""References to attributes: errors, and text that is no reference or may be valid."""

from __future__ import annotations

import pytest

from loraform_verifier.hcl.parse import parse
from loraform_verifier.schema.catalogue import Catalogue
from loraform_verifier.schema.check import check_document
from loraform_verifier.schema.references import MAX_SUSPECTS

from .schema_maker import catalogue as made_up

DECLARED = """resource "toy_machine" "m" {
  name = "m"
  network {
  }
}
resource "toy_disk" "many" {
  count  = 2
  device = "d"
}
data "toy_image" "i" {
}
"""
LINE = DECLARED.count("\n") + 2


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """The made-up provider alone."""
    return made_up(tmp_path_factory.mktemp("schemas"))


def codes(text: str, catalogue: Catalogue) -> list[tuple[int | None, str]]:
    document = parse(DECLARED + text)
    assert document.problems == ()
    return [(error.line, error.code) for error in check_document(document, catalogue).errors]


@pytest.mark.parametrize(
    "expression",
    [
        "toy_machine.m.nope",
        "resource.toy_machine.m.nope",
        "data.toy_image.i.nope",
        "toy_disk.many[0].nope",
        'toy_disk.many["a"].nope',
        "toy_machine.m.timeouts.nope",
        "toy_machine.m.disk[0].nope",
        "toy_machine.m.disk[0].key[1].nope",
        "toy_machine.m.disk.0.nope",
        '"${toy_machine.m.nope}-x"',
        "try(toy_machine.m.nope, 1)",
        "1 + toy_machine.m.nope",
        "true ? 1 : toy_machine.m.nope",
        "[for x in [] : toy_machine.m.nope]",
        "{ a = [toy_machine.m.nope] }",
        "toy_machine.m.nope[*].x",
    ],
)
def test_unknown_attributes_are_errors(expression: str, catalogue: Catalogue) -> None:
    assert codes(f"locals {{\n  x = {expression}\n}}\n", catalogue) == [(LINE, "UnsupportedAttribute")]


@pytest.mark.parametrize(
    "expression",
    [
        "toy_machine.m.arn",
        "toy_machine.m.tags.nope",
        'toy_machine.m.tags["nope"].nope',
        "toy_machine.m.network.nope",
        "toy_machine.m.secret.nope",
        "toy_machine.m.disk[0].serial",
        "toy_machine.m.disk[var.x].nope",
        "toy_machine.m.disk[*].nope",
        "toy_machine.m.disk",
        "toy_machine.m[*].nope",
        "toy_disk.many[count.index].nope",
        "toy_disk.many.*.nope",
        "toy_machine.other.nope",
        "data.toy_machine.m.nope",
        "var.toy_machine.m.nope",
        "local.toy_machine.m.nope",
        "x_toy_machine.m.nope",
        '"toy_machine.m.nope"',
        "<<EOT\ntoy_machine.m.nope\nEOT",
        "[for toy_machine in [] : toy_machine.m.nope]",
        "{ for k, toy_machine in {} : k => toy_machine.m.nope }",
        '"%{ for toy_machine in [] }${toy_machine.m.nope}%{ endfor }"',
        "1 # toy_machine.m.nope",
    ],
)
def test_known_attributes_and_other_text_pass(expression: str, catalogue: Catalogue) -> None:
    assert codes(f"locals {{\n  x = {expression}\n}}\n", catalogue) == []


def test_a_list_of_blocks_needs_an_index(catalogue: Catalogue) -> None:
    assert codes("locals {\n  x = toy_machine.m.disk.size\n}\n", catalogue) == [(LINE, "InvalidOperation")]


@pytest.mark.parametrize(
    "text",
    [
        "moved {\n  from = toy_machine.m.nope\n  to = toy_machine.m.nope\n}\n",
        'provider "toy" {\n  x = toy_machine.m.nope\n}\n',
        'variable "x" {\n  default = "x"\n  validation {\n    condition = toy_machine.m.nope\n'
        '    error_message = "x"\n  }\n}\n',
        'resource "toy_disk" "d" {\n  device = "x"\n  depends_on = [toy_machine.m.nope]\n}\n',
        'resource "toy_disk" "d" {\n  device = "x"\n  provisioner "x" {\n    a = toy_machine.m.nope\n  }\n}\n',
        'resource "toy_disk" "d" {\n  device = "x"\n  dynamic "key" {\n    for_each = []\n    content {\n'
        "      name = toy_machine.m.nope\n    }\n  }\n}\n",
    ],
)
def test_positions_with_other_rules_are_skipped(text: str, catalogue: Catalogue) -> None:
    assert codes(text, catalogue) == []


def test_for_each_of_a_dynamic_block_is_checked(catalogue: Catalogue) -> None:
    body = 'dynamic "key" {\n    for_each = toy_machine.m.nope\n    content {\n    }\n  }'
    text = f'resource "toy_disk" "d" {{\n  device = "x"\n  {body}\n}}\n'
    assert codes(text, catalogue) == [(LINE + 2, "UnsupportedAttribute")]


def test_the_hint_names_the_nearest_attribute(catalogue: Catalogue) -> None:
    document = parse(DECLARED + 'output "o" {\n  value = toy_machine.m.adresses\n}\n')
    (error,) = check_document(document, catalogue).errors
    assert error.hint == 'Did you mean "addresses"?'
    assert error.message == 'toy_machine.m has no argument, nested block or exported attribute named "adresses".'


def test_lookups_of_suspected_references_are_bounded(catalogue: Catalogue) -> None:
    def after(count: int) -> list[tuple[int | None, str]]:
        text = "toy_machine.m.nope " * count
        return codes(f'locals {{\n  x = "{text}"\n  y = toy_machine.m.nope\n}}\n', catalogue)

    assert after(MAX_SUSPECTS - 1) == [(LINE + 1, "UnsupportedAttribute")]
    assert after(MAX_SUSPECTS) == []
