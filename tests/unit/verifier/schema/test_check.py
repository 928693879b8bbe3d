"""The Schema stage rule by rule, with a made-up provider: what it reports, and what must pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraform_api.verification import Program
from loraform_verifier.hcl.configuration import read_program
from loraform_verifier.hcl.parse import parse
from loraform_verifier.schema.catalogue import Catalogue
from loraform_verifier.schema.check import check_configuration, check_document
from loraform_verifier.schema.findings import HALLUCINATION_CODES, SchemaFindings

from .schema_maker import RULE, SCHEMA, argument, block, write
from .schema_maker import catalogue as made_up

NETWORK = "network {\n  }\n"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """The made-up provider alone."""
    return made_up(tmp_path_factory.mktemp("schemas"))


def found(text: str, catalogue: Catalogue) -> SchemaFindings:
    document = parse(text)
    assert document.problems == ()
    return check_document(document, catalogue)


def codes(text: str, catalogue: Catalogue) -> list[tuple[int | None, str]]:
    findings = found(text, catalogue)
    assert findings.undecided == []
    return [(error.line, error.code) for error in findings.errors]


def machine(body: str, network: str = NETWORK) -> str:
    """A machine with all it must have; `body` begins on line 3."""
    return f'resource "toy_machine" "m" {{\n  name = "m"\n{body}\n{network}}}\n'


def hints(text: str, catalogue: Catalogue) -> list[str | None]:
    return [error.hint for error in found(text, catalogue).errors]


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ('resource "toy_machin" "m" {\n}\n', "InvalidResourceType", 'Did you mean "toy_machine"?'),
        ('data "toy_imag" "m" {\n}\n', "InvalidDataSource", 'Did you mean "toy_image"?'),
        ('ephemeral "toy_tokens" "m" {\n}\n', "InvalidEphemeralResource", 'Did you mean "toy_token"?'),
        ('resource "toy_image" "m" {\n}\n', "InvalidResourceType", '"toy_image" is a data source: declare it in a'),
        ('data "toy_disk" "m" {\n}\n', "InvalidDataSource", '"toy_disk" is a resource type: declare it in a'),
        ('resource "toy_qqqqqqqqqqqq" "m" {\n}\n', "InvalidResourceType", None),
    ],
)
def test_unknown_types_are_errors(text: str, code: str, hint: str | None, catalogue: Catalogue) -> None:
    (error,) = found(text, catalogue).errors
    assert (error.line, error.code) == (1, code)
    assert (error.hint or "").startswith(hint or "")
    assert (error.hint is None) == (hint is None)


@pytest.mark.parametrize(
    ("body", "code", "hint"),
    [
        ("  siez = 1", "UnsupportedArgument", 'Did you mean "size"?'),
        ("  qqqqqq = 1", "UnsupportedArgument", None),
        ("  disk = []", "UnsupportedArgument", 'Did you mean to define a block of type "disk"?'),
        ("  dsik {\n  }", "UnsupportedBlockType", 'Did you mean "disk"?'),
        ("  tags {\n  }", "UnsupportedBlockType", 'Did you mean to define argument "tags"? If so, use the equals sign'),
        (
            '  dynamic "diks" {\n    for_each = []\n    content {\n    }\n  }',
            "UnsupportedBlockType",
            'Did you mean "disk"?',
        ),
        ('  timeouts "x" {\n  }', "ExtraneousLabelForTimeouts", "Write timeouts { … }."),
    ],
)
def test_unknown_arguments_and_blocks_are_errors(body: str, code: str, hint: str | None, catalogue: Catalogue) -> None:
    (error,) = found(machine(body), catalogue).errors
    assert (error.line, error.code) == (3, code)
    assert (error.hint or "").startswith(hint or "")
    assert (error.hint is None) == (hint is None)


def test_errors_in_nested_blocks_name_their_location(catalogue: Catalogue) -> None:
    text = machine('  disk {\n    device = "a"\n    key {\n      nam = 1\n      name = "x"\n    }\n  }')
    (error,) = found(text, catalogue).errors
    assert (error.line, error.code) == (6, "UnsupportedArgument")
    assert error.message == 'toy_machine.m, in disk in key: an argument named "nam" is not expected here.'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('resource "toy_machine" "m" {\n  network {\n  }\n}\n', [(1, "MissingRequiredArgument")]),
        (machine("  disk {\n  }"), [(3, "MissingRequiredArgument")]),
        (machine("", network=""), [(1, "InsufficientNetworkBlocks")]),
        (machine('  disk {\n    device = "a"\n  }\n' * 3), [(9, "TooManyDiskBlocks")]),
        (machine("  timeouts {\n  }\n  timeouts {\n  }"), [(5, "DuplicateTimeoutsBlock")]),
        (machine('  disk {\n    device = "a"\n  }\n' * 2), []),
        (machine("", network=NETWORK * 5), []),
    ],
)
def test_required_arguments_and_block_counts(text: str, expected: list[tuple[int, str]], catalogue: Catalogue) -> None:
    assert codes(text, catalogue) == expected


@pytest.mark.parametrize(
    "body",
    [
        '  dynamic "network" {\n    for_each = var.x\n    content {\n    }\n  }',
        '  dynamic "network" {\n    for_each = []\n    content {\n    }\n  }',
    ],
)
def test_a_dynamic_block_leaves_counts_to_terraform(body: str, catalogue: Catalogue) -> None:
    assert codes(machine(body, network=""), catalogue) == []


@pytest.mark.parametrize("value", ['"x"', "5", "true", '["x"]', '"a-${var.x}"'])
def test_computed_arguments_cannot_be_set(value: str, catalogue: Catalogue) -> None:
    kind = "ports" if value.startswith("[") else "arn"
    value = "[1]" if kind == "ports" else value
    assert codes(machine(f"  {kind} = {value}"), catalogue) == [(3, "ValueForUnconfigurableAttribute")]


@pytest.mark.parametrize("body", ["  arn = null", "  arn = var.x", '  arn = "${var.x}"', "  ports = []", '  id = "x"'])
def test_computed_arguments_that_may_be_null_or_are_optional_pass(body: str, catalogue: Catalogue) -> None:
    assert codes(machine(body), catalogue) == []


@pytest.mark.parametrize(
    "body",
    [
        "  count = 2\n  depends_on = [toy_disk.d]\n  provider = toy.west",
        "  for_each = toset([])",
        "  lifecycle {\n    create_before_destroy = true\n    ignore_changes = [tags, size]\n  }",
        "  lifecycle {\n    prevent_destroy = true\n    replace_triggered_by = [toy_disk.d]\n  }",
        '  lifecycle {\n    precondition {\n      condition = true\n      error_message = "x"\n    }\n  }',
        '  provisioner "local-exec" {\n    anything = 1\n  }\n  connection {\n    host = "x"\n  }',
        "  _ {\n    name = 1\n    count = 2\n    nonsense = 3\n  }",
        "  old = 1",
        "  secret = { value = 1 }",
        '  note "a" {\n    text = "x"\n  }\n  note "b" {\n  }',
    ],
)
def test_meta_arguments_and_unchecked_blocks_pass(body: str, catalogue: Catalogue) -> None:
    assert codes(machine(body), catalogue) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (machine("  lifecycle {\n    prevent_destory = true\n  }"), [(4, "UnsupportedArgument")]),
        (machine("  lifecycle {\n    precondition {\n    }\n  }"), [(4, "MissingRequiredArgument")] * 2),
        (machine("  lifecycle {\n    ignore_changes = [size, tag]\n  }"), [(4, "UnsupportedAttribute")]),
        (machine("  lifecycle {\n    ignore_changes = all\n  }"), []),
        (
            'data "toy_image" "i" {\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n',
            [(3, "InvalidDataResourceLifecycleArgument")],
        ),
        ('data "toy_image" "i" {\n  provisioner "x" {\n  }\n}\n', [(2, "UnsupportedBlockType")]),
    ],
)
def test_lifecycle_blocks(text: str, expected: list[tuple[int, str]], catalogue: Catalogue) -> None:
    assert codes(text, catalogue) == expected


@pytest.mark.parametrize("content", ["    port = 1", '    port = 1\n    name = "x"', ""])
def test_a_list_of_objects_may_be_written_as_blocks(content: str, catalogue: Catalogue) -> None:
    assert codes(machine(f"  rule {{\n{content}\n  }}"), catalogue) == []
    repeated = f'  dynamic "rule" {{\n    for_each = [1]\n    content {{\n{content}\n    }}\n  }}'
    assert codes(machine(repeated), catalogue) == []


def test_a_required_list_of_objects_is_left_to_the_provider(tmp_path: Path) -> None:
    body = block({"rule": argument(RULE, required=True), "name": argument(required=True)})
    schema = {"resource_schemas": {"toy_rules": {"block": body}}}
    catalogue = Catalogue([write(tmp_path, schema=schema)])
    (error,) = found('resource "toy_rules" "r" {\n}\n', catalogue).errors
    assert '"name" is required' in error.message


def test_the_escaping_block_holds_arguments_of_the_body(catalogue: Catalogue) -> None:
    assert codes('resource "toy_disk" "d" {\n  _ {\n    device = 1\n  }\n}\n', catalogue) == []
    assert codes('resource "toy_disk" "d" {\n}\n', catalogue) == [(1, "MissingRequiredArgument")]


def test_a_list_of_objects_is_checked_in_both_forms(catalogue: Catalogue) -> None:
    assert codes(machine("  rule {\n    prot = 1\n  }"), catalogue) == [(4, "UnsupportedArgument")]
    assert codes(machine("  rule = [{ port = 1 }]"), catalogue) == [(3, "IncorrectAttributeValueType")]
    assert codes(machine('  rule = [{ port = 1, name = "x", more = 2 }]'), catalogue) == []
    assert codes(machine("  rule = [{ port = 1, (var.x) = 2 }]"), catalogue) == []


@pytest.mark.parametrize(
    "argument",
    [
        'size = "abc"',
        'size = ""',
        'size = "10GB"',
        "size = true",
        "size = [1]",
        'on = "yes"',
        "on = 1",
        "on = {}",
        'addresses = "a"',
        "addresses = { a = 1 }",
        "addresses = [[1]]",
        'tags = "a"',
        "tags = []",
        "tags = { a = [1] }",
        "name = ",
    ],
)
def test_values_that_never_convert_are_errors(argument: str, catalogue: Catalogue) -> None:
    text = machine(f"  {argument}") if argument != "name = " else machine("").replace('"m"\n', "[]\n")
    assert [code for _, code in codes(text, catalogue)] == ["IncorrectAttributeValueType"]


@pytest.mark.parametrize(
    "argument",
    [
        'size = "5"',
        'size = "1e3"',
        'size = "inf"',
        'size = "0x1f"',
        "size = -5.5",
        'on = "true"',
        'on = "1"',
        "addresses = [1, true, null]",
        "addresses = []",
        "addresses = toset([])",
        'addresses = "${["a"]}"',
        "tags = { a = 1, (var.x) = true }",
        "tags = { for k in [] : k => [] }",
        "tags = null",
        "size = var.x",
        "size = local.x.y",
    ],
)
def test_values_that_may_convert_pass(argument: str, catalogue: Catalogue) -> None:
    assert codes(machine(f"  {argument}"), catalogue) == []


def dynamic(for_each: str, content: str = "    nonsense = 1\n", more: str = "") -> str:
    """A machine with a dynamic disk whose content begins on line 6."""
    body = f'  dynamic "disk" {{\n    for_each = {for_each}\n    content {{\n{content}    }}\n{more}  }}'
    return machine(body) + 'locals {\n  some = [1]\n  none = []\n  loop = local.loop\n}\nvariable "x" {\n}\n'


BAD = [(5, "MissingRequiredArgument"), (6, "UnsupportedArgument")]


@pytest.mark.parametrize("for_each", ["[1]", "{ a = 1 }", 'toset(["a"])', "local.some", "var.x", "each.value"])
def test_dynamic_content_is_checked_if_for_each_has_elements(for_each: str, catalogue: Catalogue) -> None:
    assert codes(dynamic(for_each), catalogue) == BAD


@pytest.mark.parametrize(
    "for_each",
    [
        "[]",
        "{}",
        "local.none",
        "local.loop",
        "local.absent",
        "toset([])",
        "[for x in [] : x]",
        "concat([])",
        "disk.value",
    ],
)
def test_dynamic_content_is_skipped_if_for_each_may_be_empty(for_each: str, catalogue: Catalogue) -> None:
    assert codes(dynamic(for_each), catalogue) == []


def test_an_iterator_may_shadow_a_known_root(catalogue: Catalogue) -> None:
    key = 'dynamic "key" {\n        for_each = each.value\n        content {\n        }\n      }\n'
    inner = f'    device = "a"\n      {key}'
    assert codes(dynamic("[[]]", inner, "    iterator = each\n"), catalogue) == []
    assert codes(dynamic("[[]]", inner), catalogue) == [(9, "MissingRequiredArgument")]


def test_values_in_possibly_empty_dynamic_blocks_are_not_checked(catalogue: Catalogue) -> None:
    content = '    device = "a"\n    size = "abc"\n'
    assert codes(dynamic("var.x", content), catalogue) == []
    assert codes(dynamic("[1]", content), catalogue) == [(7, "IncorrectAttributeValueType")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('  dynamic "disk" {\n    content {\n    }\n  }', "MissingRequiredArgument"),
        ('  dynamic "disk" {\n    for_each = []\n  }', "MissingDynamicContentBlock"),
        (
            '  dynamic "disk" {\n    for_each = []\n    content {\n    }\n    content {\n    }\n  }',
            "ExtraneousDynamicContentBlock",
        ),
        ('  dynamic "disk" {\n    for_each = []\n    size = 1\n    content {\n    }\n  }', "UnsupportedArgument"),
        ('  dynamic "disk" {\n    for_each = []\n    key {\n    }\n    content {\n    }\n  }', "UnsupportedBlockType"),
        ("  dynamic {\n    for_each = []\n    content {\n    }\n  }", "MissingTypeForDynamic"),
    ],
)
def test_malformed_dynamic_blocks_are_errors(body: str, code: str, catalogue: Catalogue) -> None:
    assert [found for _, found in codes(machine(body), catalogue)] == [code]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('resourc "toy_disk" "d" {\n}\n', [(1, "UnsupportedBlockType")]),
        ("resource = {\n}\nx = 1\n", [(1, "UnsupportedArgument"), (3, "UnsupportedArgument")]),
        ('resource "toy_disk" {\n}\n', [(1, "MissingNameForResource")]),
        ('resource "toy_disk" "d" "e" {\n}\n', [(1, "ExtraneousLabelForResource")]),
        ("variable {\n}\n", [(1, "MissingNameForVariable")]),
        ('locals "x" {\n}\n', [(1, "ExtraneousLabelForLocals")]),
        ('variable "x" {\n  defalt = 1\n}\n', [(2, "UnsupportedArgument")]),
        ('variable "x" {\n  validation {\n    condition = true\n  }\n}\n', [(2, "MissingRequiredArgument")]),
        ('output "x" {\n  sensitive = true\n}\n', [(1, "MissingRequiredArgument")]),
        ('check "c" {\n  data "toy_image" "i" {\n    nam = 1\n  }\n}\n', [(3, "UnsupportedArgument")]),
        ('provider "toy" {\n  nonsense = 1\n}\n', []),
        (
            "terraform {\n  nonsense = 1\n}\nprovider {\n}\n",
            [(2, "UnsupportedArgument"), (4, "MissingNameForProvider")],
        ),
        ("moved {\n  from = toy_disk.a\n  to = toy_disk.b\n}\naction {\n}\n", []),
    ],
)
def test_blocks_of_the_language(text: str, expected: list[tuple[int, str]], catalogue: Catalogue) -> None:
    assert codes(text, catalogue) == expected


@pytest.mark.parametrize(
    "text",
    [
        'resource "other_thing" "x" {\n  nonsense = 1\n}\n',
        'resource "toy_machine" "x" {\n  provider = other\n}\n',
        'resource "toy_machine" "x" {\n  provider = other.west\n}\n',
        'terraform {\n  required_providers {\n    toy = { source = "acme/toy" }\n  }\n}\n'
        'resource "toy_machine" "x" {\n}\n',
        'terraform {\n  required_providers {\n    toy = { source = "example.com/hashicorp/toy" }\n  }\n}\n'
        'data "toy_nonsense" "x" {\n}\n',
    ],
)
def test_a_provider_without_a_schema_is_undecided(text: str, catalogue: Catalogue) -> None:
    findings = found(text, catalogue)
    assert findings.errors == []
    (undecided,) = findings.undecided
    assert undecided.code == "SchemaMissing"
    assert "available: hashicorp/toy 1.2.3" in undecided.message


@pytest.mark.parametrize("source", ["hashicorp/toy", "registry.terraform.io/hashicorp/toy", "toy"])
def test_required_providers_may_give_the_provider_another_name(source: str, catalogue: Catalogue) -> None:
    settings = f'terraform {{\n  required_providers {{\n    doll = {{ source = "{source}" }}\n  }}\n}}\n'
    text = settings + 'data "toy_nonsense" "x" {\n  provider = doll\n}\n'
    assert codes(text, catalogue) == [(6, "InvalidDataSource")]


def test_errors_and_undecided_findings_are_both_returned(catalogue: Catalogue) -> None:
    findings = found('resource "other_thing" "x" {\n}\nresource "toy_thing" "x" {\n}\n', catalogue)
    assert [error.code for error in findings.errors] == ["InvalidResourceType"]
    assert [found.code for found in findings.undecided] == ["SchemaMissing"]


def test_errors_are_limited_and_in_order_of_lines(catalogue: Catalogue) -> None:
    errors = found("".join(f'resource "toy_x{n}" "x" {{\n}}\n' for n in range(100)), catalogue).errors
    assert [error.line for error in errors] == list(range(1, 41, 2))


def test_hallucination_codes_cover_unknown_names_only() -> None:
    assert "UnsupportedArgument" in HALLUCINATION_CODES
    assert "MissingRequiredArgument" not in HALLUCINATION_CODES


def files(**texts: str) -> Program:
    return Program(id="p", files={name.replace("__", "/") + ".tf": text for name, text in texts.items()})


def test_files_of_a_module_are_one_program(catalogue: Catalogue) -> None:
    program = files(
        a='locals {\n  some = [1]\n}\nresource "toy_disk" "d" {\n  device = "x"\n}\n',
        b=dynamic("local.some").partition("locals {")[0] + 'output "o" {\n  value = toy_disk.d.nope\n}\n',
        modules__c='output "o" {\n  value = toy_disk.d.nope\n}\nresource "toy_nope" "x" {\n}\n',
    )
    findings = check_configuration(read_program(program), catalogue)
    assert [(error.file, error.code) for error in findings.errors] == [
        ("b.tf", "MissingRequiredArgument"),
        ("b.tf", "UnsupportedArgument"),
        ("b.tf", "UnsupportedAttribute"),
        ("modules/c.tf", "InvalidResourceType"),
    ]


def test_a_module_with_an_override_file_is_not_checked(catalogue: Catalogue) -> None:
    program = files(main='resource "toy_disk" "d" {\n}\n', main_override='resource "toy_disk" "d" {\n  device = 1\n}\n')
    assert check_configuration(read_program(program), catalogue).errors == []


def test_a_missing_schema_is_named_with_its_file(tmp_path: Path) -> None:
    findings = check_configuration(read_program(files(a='resource "toy_disk" "d" {\n}\n')), Catalogue([tmp_path]))
    assert [(found.file, found.line) for found in findings.undecided] == [("a.tf", 1)]


PROVIDER = 'provider "toy" {\n%s\n}\n'
USER = machine("")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('  zone = "a"\n  retries = 5\n  alias = "b"\n  version = "~> 1.2"', []),
        ("  zone = var.zone\n  retries = local.retries", []),
        ("  labels {\n    all = { a = 1 }\n  }", []),
        ('  zonee = "a"', [(2, "UnsupportedArgument")]),
        ('  zone = ["a"]', [(2, "IncorrectAttributeValueType")]),
        ('  retries = "many"', [(2, "IncorrectAttributeValueType")]),
        ("  label {\n  }", [(2, "UnsupportedBlockType")]),
        ("  labels {\n    al = {}\n  }", [(3, "UnsupportedArgument")]),
        ("  labels {\n  }\n  labels {\n  }", [(4, "TooManyLabelsBlocks")]),
        (
            '  dynamic "labels" {\n    for_each = [1]\n    content {\n      al = {}\n    }\n  }',
            [(5, "UnsupportedArgument")],
        ),
        ("  count = 1", [(2, "ReservedArgumentNameInProviderBlock")]),
    ],
)
def test_arguments_of_a_provider_block_are_those_of_its_schema(
    body: str, expected: list[tuple[int, str]], catalogue: Catalogue
) -> None:
    user = USER.replace("  name", "  provider = toy.b\n  name") if "alias" in body else USER
    assert codes(PROVIDER % body + user, catalogue) == expected


def test_a_provider_block_that_nothing_uses_is_not_judged_nor_one_without_settings(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    assert codes(PROVIDER % "  zonee = 1", catalogue) == []
    assert codes(PROVIDER % '  alias = "b"\n  zonee = 1' + USER, catalogue) == []
    required = block({"zone": argument(required=True)})
    strict = Catalogue([write(tmp_path, schema=SCHEMA | {"provider": {"block": required}})])
    assert codes(PROVIDER % "" + USER, strict) == []
    assert codes(PROVIDER % "  zone = 1" + USER, strict) == []


def test_a_provider_block_is_used_by_the_modules_that_its_own_calls(catalogue: Catalogue) -> None:
    files = {"m/main.tf": USER}
    text = PROVIDER % "  zonee = 1" + 'module "m" {\n  source = "./m"\n}\n'
    findings = check_configuration(read_program(Program(id="p", text=text, files=files)), catalogue)
    assert [(error.file, error.line, error.code) for error in findings.errors] == [
        ("main.tf", 2, "UnsupportedArgument")
    ]


def test_a_program_for_another_version_than_the_schemas_is_undecided(catalogue: Catalogue) -> None:
    settings = 'terraform {\n  required_providers {\n    toy = "%s"\n  }\n}\n' + PROVIDER % "  zonee = 1"
    findings = found(settings % "~> 2.0" + USER.replace("name", "nam"), catalogue)
    assert findings.errors == []
    (undecided,) = findings.undecided
    assert (undecided.code, undecided.line) == ("ToolchainMismatch", 3)
    assert "hashicorp/toy 1.2.3" in undecided.message
    assert codes(settings % "~> 1.0" + USER, catalogue) == [(7, "UnsupportedArgument")]


def test_a_constraint_that_no_version_meets_is_an_error(catalogue: Catalogue) -> None:
    assert codes('terraform {\n  required_version = ">= 99.0"\n}\n', catalogue) == [
        (2, "UnsupportedTerraformCoreVersion")
    ]
