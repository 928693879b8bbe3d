"""Programs that must not reach Terraform are refused with a reason."""

from __future__ import annotations

import pytest

from loraform_verifier.hcl.parse import parse
from loraform_verifier.stages.denials import denials

LOOP = "[for a in range(9) : {}]"


@pytest.mark.parametrize(
    "text",
    [
        'import {\n  to = aws_vpc.a\n  id = "x"\n}\n',
        "removed {\n  from = aws_vpc.a\n}\n",
        'action "x" "y" {\n}\n',
        'terraform {\n  backend "http" {\n  }\n}\n',
        "terraform {\n  cloud {\n  }\n}\n",
        'terraform {\n  provider_meta "aws" {\n  }\n}\n',
        "terraform {\n  encryption {\n  }\n}\n",
        'terraform {\n  state_store "x" {\n  }\n}\n',
        'data "external" "x" {\n  program = ["id"]\n}\n',
        'data "http" "x" {\n  url = "http://169.254.169.254/"\n}\n',
        'data "local_file" "x" {\n  filename = "/etc/passwd"\n}\n',
        'data "terraform_remote_st\\u0061te" "x" {\n  backend = "local"\n}\n',
        'check "x" {\n  data "http" "y" {\n    url = "http://169.254.169.254/"\n  }\n}\n',
        'check "x" {\n  data "terraform_remote_state" "y" {\n    backend = "local"\n  }\n}\n',
        'resource "aws_vpc" "a" {\n  dynamic "t\\u0061gs" {\n  }\n}\n',
        'data "terraform_remote_state" "x" {\n  backend = "local"\n}\n',
        'resource "aws_vpc" "a" {\n  provisioner "local-exec" {\n    command = "id"\n  }\n}\n',
        "resource aws_vpc a {\n  connection {\n  }\n}\n",
        'locals {\n  a = file("/etc/passwd")\n}\n',
        'locals {\n  a = fileexists("/etc/passwd")\n}\n',
        'locals {\n  a = filebase64sha256("/etc/passwd")\n}\n',
        'locals {\n  a = fileset("/", "*")\n}\n',
        'locals {\n  a = templatefile("/etc/passwd", {})\n}\n',
        "locals {\n  a = templatestring(local.b, {})\n}\n",
        'locals {\n  a = pathexpand("~")\n}\n',
        'locals {\n  a = core::file("/etc/passwd")\n}\n',
        "locals {\n  a = provider::aws::arn_parse(1)\n}\n",
        'locals {\n  a = "x${file /* hidden */ ("/etc/passwd")}"\n}\n',
        'locals {\n  a = <<-EOT\n    %{ if file("/etc/passwd") == "" }x%{ endif }\n  EOT\n}\n',
        'locals {\n  a = { (file("/etc/passwd")) = 1 }\n}\n',
        'locals {\n  a = <<名\n${file("/etc/passwd")}\n名\n}\n',
        "locals {\n  a = <<名\n名\n  b = file(1e3)\n  c = <<名\n名\n}\n",
        'locals {\n  a = [for x in [1] : file("/x") if true]\n}\n',
        'locals {\n  a = true ? 1 : [file("/x")][0]\n}\n',
        'output "file" {\n  value = aws_vpc.a[file("/x")].id\n}\n',
        "locals {\n  a = " + LOOP.format(LOOP.format(LOOP.format("a"))) + "\n}\n",
        'locals {\n  a = [for a in b : [for c in d : "%{ for e in f }x%{ endfor }"]]\n}\n',
    ],
)
def test_denied_programs_are_blocked_with_a_line(text: str) -> None:
    document = parse(text)
    assert document.problems == ()
    reasons = denials(document)
    assert reasons
    assert all(r.code == "BlockedByPolicy" and r.line and r.message for r in reasons)


@pytest.mark.parametrize(
    "text",
    [
        'resource "aws_s3_object" "file" {\n  content = "file(\\"x\\")" # file("x")\n}\n',
        'variable "file" {\n  description = "$${file(x)}"\n}\n',
        'data "aws_ami" "a" {\n  most_recent = true\n}\n',
        'check "a" {\n  data "aws_ami" "b" {\n    most_recent = true\n  }\n}\n',
        'resource "aws_x" "a" {\n  data {\n  }\n}\n',
        "locals {\n  a = " + LOOP.format(LOOP.format("a")) + "\n}\n",
        'terraform {\n  required_version = ">= 1.5"\n}\nprovider "aws" {\n  region = "eu-west-1"\n}\n',
        'resource "aws_glue_connection" "a" {\n  connection_properties = {}\n}\n',
    ],
)
def test_similar_harmless_programs_pass(text: str) -> None:
    assert denials(parse(text)) == []


def test_reasons_are_bounded() -> None:
    assert len(denials(parse('x = file("a")\n' + "".join(f'y{i} = file("a")\n' for i in range(99))))) == 10
