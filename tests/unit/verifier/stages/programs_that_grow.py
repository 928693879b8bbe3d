"""Programs of each kind that could cost more than their length: a kind and a number give a program."""

from __future__ import annotations

from collections.abc import Callable

from loraform_api.verification import DefaultTags, DenyRule, HousePolicy, Program

POLICY = HousePolicy(
    comment="# ours",
    tags={"owner": "us"},
    required_tags=["team"],
    default_tags=DefaultTags.COUNTED,
    deny=[DenyRule(name="x", types=["aws_*"], argument="ingress.cidr_blocks", values=["0.0.0.0/0"])],
)
PROMPT = "".join(f"word{n} " for n in range(40_000))


def one(text: str) -> Program:
    return Program(id="p", text=text)


def lines(count: int, line: Callable[[int], str]) -> str:
    return "".join(line(n) + "\n" for n in range(count))


def block(head: str, body: str) -> str:
    return f"{head} {{\n{body}}}\n"


def resource(body: str, name: str = "a", kind: str = "aws_instance") -> str:
    return block(f'resource "{kind}" "{name}"', body)


def many_with_providers(name: str) -> str:
    return lines(40, lambda k: resource("  provider = aws.x\n", f"{name}-{k}"))


def chain(count: int) -> str:
    return block("locals", lines(count, lambda n: f"  a{n} = local.a{n + 1}") + f'  a{count} = "v"\n')


def default_tags(tags: str) -> str:
    return block('provider "aws"', block("default_tags", "tags = {\n" + tags + "}\n")) + resource("")


def in_locals(value: str) -> str:
    return block("locals", f"  x = {value}\n")


KINDS: dict[str, tuple[Callable[[int], Program], int]] = {
    "tags through a chain of locals": (
        lambda n: one(chain(n) + default_tags(lines(n, lambda i: f"t{i} = local.a0"))),
        1200,
    ),
    "tags with literals": (lambda n: one(default_tags(lines(n, lambda i: f't{i} = "v"'))), 4000),
    "resources": (lambda n: one(lines(n, lambda i: resource('  ami = "a"\n', f"a{i}"))), 1500),
    "resources on one line each": (lambda n: one(lines(n, lambda i: f'resource "aws_vpc" "a{i}" {{}}')), 2500),
    "tagged resources": (
        lambda n: one(lines(n, lambda i: resource('  tags = { owner = "them", x = local.y }\n', f"a{i}"))),
        1000,
    ),
    "nested blocks": (
        lambda n: one(resource("  ingress {\n    cidr_blocks = [local.a]\n  }\n" * n, kind="aws_security_group")),
        2000,
    ),
    "dynamic blocks": (
        lambda n: one(
            resource(
                '  dynamic "ingress" {\n    for_each = [1]\n    content {\n      from_port = 1\n    }\n  }\n' * n,
                kind="aws_security_group",
            )
        ),
        800,
    ),
    "arguments": (lambda n: one(resource(lines(n, lambda i: f"  a{i} = 1"))), 7000),
    "arguments of a provider": (
        lambda n: one(block('provider "aws"', lines(n, lambda i: f"  a{i} = 1")) + resource("")),
        5000,
    ),
    "blocks of a provider": (
        lambda n: one(block('provider "aws"', lines(n, lambda i: f"  a{i} {{\n  b = 1\n  }}")) + resource("")),
        2500,
    ),
    "providers with aliases": (
        lambda n: one(
            lines(
                n,
                lambda i: (
                    block('provider "aws"', f'  alias = "a{i}"\n  region = "us-east-1"\n')
                    + resource(f"  provider = aws.a{i}\n", f"a{i}")
                ),
            )
        ),
        800,
    ),
    "nested in brackets": (lambda n: one(lines(n, lambda i: in_locals("[" * 90 + "1" + "]" * 90))), 400),
    "nested in blocks": (lambda n: one(lines(n, lambda i: "a {\n" * 90 + "}\n" * 90)), 150),
    "a list": (lambda n: one(in_locals("[" + "1," * n + "1]")), 30_000),
    "a list of references": (lambda n: one(in_locals("[" + "path.module," * n + "1]")), 6000),
    "an object on one line": (lambda n: one(in_locals("{" + "a=1," * n + "}")), 20_000),
    "a sum": (lambda n: one(in_locals("1+" * n + "1")), 30_000),
    "a chain of attributes": (lambda n: one(in_locals("x" + ".b" * n)), 30_000),
    "a chain of indexes": (lambda n: one(in_locals("x" + "[0]" * n)), 20_000),
    "a chain after a wrong attribute": (
        lambda n: one(resource("") + in_locals("aws_instance.a.nope" + ".b" * n)),
        15_000,
    ),
    "wrong attributes": (
        lambda n: one(resource("") + in_locals("[" + "aws_instance.a.nope," * n + "1]")),
        4000,
    ),
    "attributes that exist": (
        lambda n: one(resource("") + in_locals("[" + "aws_instance.a.id," * n + "1]")),
        4000,
    ),
    "wrong attributes that count for nothing": (
        lambda n: one(resource("") + block("moved", "x = [" + "aws_instance.a.nope," * n + "1]\n")),
        4000,
    ),
    "a tag twice on one line": (
        lambda n: one(resource("  tags = {" + 'owner = "x", ' * n + 'owner = "y"}\n')),
        5000,
    ),
    "a tag twice on its lines": (lambda n: one(resource("  tags = {\n" + 'owner = "x"\n' * n + "}\n")), 5000),
    "tag blocks": (
        lambda n: one(
            resource(
                '  tag {\n    key = "owner"\n    value = "x"\n    propagate_at_launch = true\n  }\n' * n,
                kind="aws_autoscaling_group",
            )
        ),
        1000,
    ),
    "comments on one line": (lambda n: one("/**/" * n + "\nlocals {}\n"), 20_000),
    "comments": (lambda n: one("# a\n" * n + "locals {}\n"), 20_000),
    "comments above resources": (lambda n: one('# a\n# b\nresource "aws_vpc" "a" {}\n' * n), 2500),
    "comments in a block": (lambda n: one(resource("# a\n" * n)), 20_000),
    "a heredoc": (lambda n: one(in_locals("<<EOT\n" + "  a b c\n" * n + "EOT\n")), 10_000),
    "a heredoc of spaces": (lambda n: one(in_locals("<<EOT\n" + " " * n + "x\nEOT\n")), 80_000),
    "heredocs": (lambda n: one(lines(n, lambda i: in_locals("<<EOT\nx\nEOT\n"))), 3000),
    "heredocs with names of their own": (lambda n: one(lines(n, lambda i: in_locals(f"<<é{i}\nx\né{i}\n"))), 2000),
    "templates": (lambda n: one(in_locals('"' + "${x}" * n + '"')), 20_000),
    "templates that escape": (lambda n: one(in_locals('"' + "$${x}" * n + '"')), 16_000),
    "loops in templates": (lambda n: one(in_locals('"' + "%{for a in b}x%{endfor}" * n + '"')), 4000),
    "a string": (lambda n: one(in_locals('"' + "a" * n + '"')), 90_000),
    "strings": (lambda n: one(in_locals("[" + '"a",' * n + "]")), 20_000),
    "a name": (lambda n: one(resource("", "a" * n) + block("a" * n, "")), 40_000),
    "calls": (lambda n: one(in_locals("[" + "max(1)," * n + "1]")), 10_000),
    "calls in calls": (lambda n: one(lines(n, lambda i: in_locals("max(" * 40 + "1" + ")" * 40))), 300),
    "loops": (lambda n: one(in_locals("[" + "[for a in b: a]," * n + "1]")), 5000),
    "labels": (lambda n: one("a " + '"b" ' * n + "{\n}\n"), 20_000),
    "unknown types": (lambda n: one(lines(n, lambda i: resource("", kind=f"aws_x{i}"))), 2500),
    "unknown blocks": (lambda n: one(lines(n, lambda i: f"x{i} {{}}")), 8000),
    "one argument many times": (lambda n: one(resource("  ami = 1\n" * n)), 8000),
    "errors on one line": (lambda n: one(in_locals("[" + "1 " * n + "]")), 3000),
    "errors on lines": (lambda n: one("locals {\n  = 1\n}\n" * n), 1000),
    "open blocks": (lambda n: one("locals {\n" * n), 1000),
    "numbers with exponents": (lambda n: one(in_locals("[" + "1e3," * n + "]")), 20_000),
    "secrets": (lambda n: one(lines(n, lambda i: resource(f'  password = "hunter{i}x"\n', f"a{i}"))), 1200),
    "secrets of the prompt": (
        lambda n: one(lines(n, lambda i: resource(f'  password = "word{i}"\n', f"a{i}"))),
        1200,
    ),
    "variables with defaults": (
        lambda n: one(lines(n, lambda i: block(f'variable "password{i}"', '  default = "hunter2x"\n'))),
        1600,
    ),
    "constraints of one setting": (
        lambda n: one(block("terraform", f'  required_version = "{", ".join([">= 0.1"] * n)}"\n')),
        8000,
    ),
    "distinct constraints": (
        lambda n: one(block("terraform", f'  required_version = "{", ".join(f"!= 1.0.{i}" for i in range(n))}"\n')),
        6000,
    ),
    "settings with constraints": (
        lambda n: one(lines(n, lambda i: block("terraform", f'  required_version = "!= 0.1.{i}"\n'))),
        1500,
    ),
    "required providers": (
        lambda n: one(
            block("terraform", block("required_providers", lines(n, lambda i: f'  a{i} = {{ source = "x/a{i}" }}')))
        ),
        2500,
    ),
    "module calls": (lambda n: one(lines(n, lambda i: block(f'module "a{i}"', '  source = "./m"\n'))), 2000),
    "calls of one large module": (
        lambda n: Program(
            id="p",
            text=lines(40, lambda i: block(f'module "a{i}"', '  source = "./m"\n')),
            files={"m/main.tf": lines(n, lambda i: resource("", f"a{i}"))},
        ),
        1500,
    ),
    "modules with refused calls": (
        lambda n: Program(
            id="p",
            text=lines(40, lambda i: block(f'module "a{i}"', '  source = "./m"\n')),
            files={"m/main.tf": lines(n, lambda i: block(f'module "b{i}"', '  source = "x"\n'))},
        ),
        1500,
    ),
    "files": (
        lambda n: Program(
            id="p",
            files={f"f{i}.tf": many_with_providers(f"a{i}") for i in range(n)},
        ),
        50,
    ),
    "files of a called module": (
        lambda n: Program(
            id="p",
            text=block('module "m"', '  source = "./m"\n'),
            files={f"m/f{i}.tf": many_with_providers(f"a{i}") for i in range(n)},
        ),
        50,
    ),
    "folders": (
        lambda n: Program(
            id="p",
            text=lines(n, lambda i: block(f'module "a{i}"', f'  source = "./m{i}"\n')),
            files={f"m{i}/main.tf": lines(40, lambda k: resource("", f"a{k}")) for i in range(n)},
        ),
        49,
    ),
    "outputs": (lambda n: one(lines(n, lambda i: block(f'output "o{i}"', "  value = 1\n"))), 3000),
    "checks": (
        lambda n: one(lines(n, lambda i: block(f'check "c{i}"', block("assert", "  condition = true\n")))),
        2000,
    ),
    "data sources": (lambda n: one(lines(n, lambda i: block(f'data "aws_ami" "a{i}"', ""))), 3000),
}
"""Kind to (program of a size, a size); twice the size still fits into a program."""
