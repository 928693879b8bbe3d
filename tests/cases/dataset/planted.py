"""The recipe of the planted data set: good rows that all differ, and among them every kind of damage, by check.

Secrets are put together here from halves, so that no scanner of repositories takes them for real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

GOOD = 160
WORDS = """
    amber basil cedar delta ember fjord grove heron islet jetty karst lagoon maple north ocean pine quartz river
    slate tundra umber vale willow xenon yarrow zephyr anchor beacon canyon dune
""".split()  # noqa: SIM905 - a list this long is read as text
POLICY = {
    "comment": "# This resource is generated using PiCloud tool",
    "tags": {"created_by": "PiCloud"},
    "deny": [{"name": "no-access-keys", "types": ["aws_iam_access_key"]}],
}


@dataclass
class Planted:
    """Lines of the source and of the suite, and the ids of the rows that each check must find."""

    lines: list[str] = field(default_factory=list)
    expected: dict[str, list[str]] = field(default_factory=dict)
    suite: list[dict[str, Any]] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    in_doubt: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    """The planted ones in plain text."""

    def add(self, row: dict[str, Any] | str, check: str | None = None) -> str:
        """Append a row; return its id."""
        self.lines.append(row if isinstance(row, str) else json.dumps(row))
        row_id = f"data:{len(self.lines)}"
        if check is not None:
            self.expected.setdefault(check, []).append(row_id)
        return row_id


def planted(seed: int = 5) -> Planted:
    """Return the whole data set; the same for the same seed."""
    chance = Random(seed)
    made = Planted()
    good = [row(chance) for _ in range(GOOD)]
    for number, one in enumerate(good):
        made.add(one)
        if number == GOOD // 2:  # damage stands among the rows, not after them
            for plant in (_invalid_rows, _typography, _syntax, _secrets, _invalid, _look_alikes):
                plant(made, chance)
    for plant_copy in (_denied, _duplicates, _near, _leaked, _long):
        plant_copy(made, good, chance)
    return made


def row(chance: Random) -> dict[str, Any]:
    """Return a good row: five resources whose names and values are drawn."""
    name = "-".join(chance.sample(WORDS, 3))
    parts = chance.sample(PARTS, 5)
    return {
        "instruction": f"Set up {name} for {_phrase(chance)}: {', '.join(p.__name__.strip('_') for p in parts)}.",
        "response": "\n".join(part(name.replace("-", "_"), chance) for part in parts),
    }


def _phrase(chance: Random) -> str:
    return " ".join(chance.sample(WORDS, 6))


def _resource(kind: str, name: str, /, **arguments: str) -> str:
    lines = "".join(f"  {argument} = {value}\n" for argument, value in arguments.items())
    return f'resource "{kind}" "{name}" {{\n{lines}}}\n'


def _bucket(name: str, chance: Random) -> str:
    return _resource("aws_s3_bucket", name, bucket=f'"{_key(chance)}"', force_destroy=chance.choice(("true", "false")))


def _queue(name: str, chance: Random) -> str:
    timeout, delay = (str(chance.randrange(30, 900)) for _ in range(2))
    named = f'"{_key(chance)}"'
    return _resource("aws_sqs_queue", name, name=named, visibility_timeout_seconds=timeout, delay_seconds=delay)


def _topic(name: str, chance: Random) -> str:
    return _resource("aws_sns_topic", name, name=f'"{_key(chance)}"', display_name=f'"{_phrase(chance)}"')


def _network(name: str, chance: Random) -> str:
    tags = f'{{\n    Name = "{_key(chance)}"\n  }}'
    return _resource("aws_vpc", name, cidr_block=f'"10.{chance.randrange(256)}.0.0/16"', tags=tags)


def _logs(name: str, chance: Random) -> str:
    return _resource("aws_cloudwatch_log_group", name, name=f'"/{_key(chance)}/{chance.choice(WORDS)}"')


def _repository(name: str, chance: Random) -> str:
    return _resource("aws_ecr_repository", name, name=f'"{_key(chance)}"')


def _parameter(name: str, chance: Random) -> str:
    return _resource(
        "aws_ssm_parameter", name, name=f'"/{_key(chance)}"', type='"String"', value=f'"{_phrase(chance)}"'
    )


PARTS: tuple[Callable[[str, Random], str], ...] = (_bucket, _queue, _topic, _network, _logs, _repository, _parameter)


def _key(chance: Random) -> str:
    return f"{'-'.join(chance.sample(WORDS, 3))}-{chance.randrange(1000)}"


def _with(chance: Random, response: str) -> dict[str, Any]:
    return {**row(chance), "response": response}


def _invalid_rows(made: Planted, chance: Random) -> None:
    good = row(chance)
    for bad in (
        "{not json",
        '["a list"]',
        {**good, "response": "  "},
        {**good, "instruction": 7},
        {"response": "x"},
        {**good, "response": "# " + "x" * 200_000},
        '{"instruction": "\\ud800", "response": "a {\\n}"}',
    ):
        made.add(bad, "InvalidRow")


def _typography(made: Planted, chance: Random) -> None:
    for plain, typographic in (('"', "\u201d"), ("  ", "\u00a0\u00a0"), (" = ", "\u200b = "), ("\n  ", "\u2028  ")):
        good = row(chance)
        made.add({**good, "response": good["response"].replace(plain, typographic)}, "Typography")
    negative = 'resource "aws_cloudwatch_metric_alarm" "a" {\n  threshold = \u20135\n}\n'
    made.add(_with(chance, negative), "Typography")


def _syntax(made: Planted, chance: Random) -> None:
    good = row(chance)
    cut, curly = good["response"].rstrip().removesuffix("}"), good["response"].replace('"', "\u201c")[:-2]
    for bad in (cut, "Create a bucket, please.", "# nothing\n", "```hcl\n" + cut + "```\n", curly):
        made.add({**good, "response": bad}, "SyntaxError")


def _secrets(made: Planted, chance: Random) -> None:
    def text(length: int, letters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") -> str:
        return "".join(chance.choices(letters, k=length))

    both = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    tokens = [
        "AK" + "IA" + text(16), "gh" + "p_" + text(36, both), "gl" + "pat-" + text(20, both),
        "xo" + "xb-" + text(24, both), "AI" + "za" + text(35, both), "-----BEGIN RSA " + "PRIVATE KEY-----",
        "ey" + "J" + text(20, both) + ".ey" + "J" + text(20, both) + "." + text(30, both),
    ]  # fmt: skip
    access_key, account = text(40, both), "4829" + "17365028"
    made.secrets = [*tokens, access_key, account, "Hunter2!", "hunter2"]
    for token in (*tokens, f"arn:aws:iam::{account}:root"):
        parameter = _resource("aws_ssm_parameter", "a", name='"a"', type='"String"', value=f'"{token}"')
        made.add(_with(chance, parameter), "Secrets")
    database = (
        'resource "aws_redshift_cluster" "a" {{\n  cluster_identifier = "a"\n  node_type = "dc2.large"\n  {}\n}}\n'
    )
    made.add(_with(chance, database.format('master_password = "Hunter2!"')), "Secrets")
    made.add(_with(chance, 'variable "db_password" {\n  type    = string\n  default = "hunter2"\n}\n'), "Secrets")
    made.add(_with(chance, f'locals {{\n  aws_secret_access_key = "{access_key}"\n}}\n'), "Secrets")
    good = row(chance)
    made.add({**good, "instruction": f"{good['instruction']} The account is {'5820' + '91736450'}."}, "Secrets")


def _invalid(made: Planted, chance: Random) -> None:
    for bad in (
        'resource "aws_vpc" "a" {\n  cidr_blok = "10.0.0.0/16"\n}\n',
        'resource "aws_vpcs" "a" {\n  cidr_block = "10.0.0.0/16"\n}\n',
        'resource "aws_subnet" "a" {\n  cidr_block = "10.0.1.0/24"\n}\n',
        'resource "aws_subnet" "a" {\n  vpc_id = aws_vpc.other.id\n}\n',
        'resource "terraform_data" "a" {\n  provisioner "local-exec" {\n    command = "id"\n  }\n}\n',
    ):
        made.add(_with(chance, bad), "Invalid")


def _look_alikes(made: Planted, chance: Random) -> None:
    """Add what looks like damage and is none."""
    for kept in (
        _resource("aws_sns_topic", "a", name='"a"', display_name='"the \u201cbest\u201d \u2013 it\u2019s here"'),
        'data "aws_iam_policy_document" "a" {\n  statement {\n    actions   = ["sts:AssumeRole"]\n'
        '    resources = ["arn:aws:iam::123456789012:role/a"]\n  }\n}\n',
        'variable "db_password" {\n  type      = string\n  sensitive = true\n}\nresource "aws_redshift_cluster" "b" {\n'
        '  cluster_identifier = "b"\n  node_type = "dc2.large"\n  master_password = var.db_password\n'
        '  master_username = "admin"\n}\n',
        'resource "aws_ssm_parameter" "u" {\n  name  = "u"\n  type  = "String"\n'
        '  value = "123e4567-e89b-12d3-a456-426614174000"\n}\n',
        'data "aws_ami" "u" {\n  owners      = ["099720109477"]\n  most_recent = true\n}\n',
    ):
        made.add(_with(chance, kept))
    unknown = 'resource "nosuchcloud_thing" "a" {\n  name = "a"\n}\n'
    made.unjudged.append(made.add(_with(chance, unknown)))


def _denied(made: Planted, good: list[dict[str, Any]], chance: Random) -> None:
    key = 'resource "aws_iam_access_key" "a" {\n  user = "' + chance.choice(WORDS) + '"\n}\n'
    made.add(_with(chance, key), "Policy")


def _duplicates(made: Planted, good: list[dict[str, Any]], chance: Random) -> None:
    one, other, third = good[3], good[40], good[77]
    made.add(one, "Duplicate")
    commented = "# a comment of its own\n" + other["response"].replace(" = ", "   =  ").replace(
        "{\n", "{\n\n  // more\n"
    )
    made.add({**other, "response": commented}, "Duplicate")
    made.add({**third, "instruction": f"  {third['instruction'].upper()}\n"}, "Duplicate")


def _near(made: Planted, good: list[dict[str, Any]], chance: Random) -> None:
    for index in (5, 25, 50, 100):
        one = good[index]
        lines = one["response"].split("\n")
        named = [i for i, line in enumerate(lines) if line.startswith(("  name ", "  bucket ", "  value "))]
        at = chance.choice(named)
        lines[at] = lines[at].replace('"', '"new-', 1)
        made.add({**one, "response": "\n".join(lines)}, "NearDuplicate")


def _leaked(made: Planted, good: list[dict[str, Any]], chance: Random) -> None:
    asked, near, program, alike = (row(chance) for _ in range(4))
    made.suite = [
        {"id": "asked", "instruction": f"Please {asked['instruction'].lower()}"},
        {
            "id": "near",
            "instruction": f"{near['instruction']} {_phrase(chance)}, {_phrase(chance)} and {_phrase(chance)}.",
        },
        {"id": "program", "instruction": f"Anything with {_phrase(chance)}.", "reference": program["response"]},
        {"id": "alike", "instruction": alike["instruction"]},
        *({"id": f"other-{i}", "instruction": row(chance)["instruction"]} for i in range(20)),
    ]
    made.add({**row(chance), "instruction": f"  PLEASE  {asked['instruction']}"}, "InSuite")
    made.add({**row(chance), "instruction": made.suite[1]["instruction"].replace("Set up", "Build")}, "InSuite")
    made.add({**program, "instruction": f"Build {_phrase(chance)}."}, "InSuite")
    words = alike["instruction"].split()
    words[-1:] = [chance.choice(WORDS), words[-1]]
    words[1] = "together"
    made.in_doubt.append(made.add({**row(chance), "instruction": " ".join(words)}))


def _long(made: Planted, good: list[dict[str, Any]], chance: Random) -> None:
    for _ in range(2):
        text = " ".join(chance.choices(WORDS, k=3000))
        made.add({**row(chance), "instruction": text}, "TooLong")


def ids(checks: dict[str, list[str]]) -> Iterator[str]:
    """Yield all rows that must go."""
    for rows in checks.values():
        yield from rows
