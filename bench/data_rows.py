"""Generates the rows of benchmark 6: distinct rows of about 1 kB of Terraform, and edited copies of some."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

SYLLABLES = "ba co da fe gi ho ju ka le mi no pu ra se ti vo wu xa ye zo bri cla dro fre glo stu pla tre".split()  # noqa: SIM905
ROWS_PER_COPY = 33
"""Every 33rd row is an edited copy of an earlier one; the kinds of edits take turns."""
EDITS = ("one value in a twentieth of the lines", "one value in a tenth of the lines", "a tenth of the lines replaced")


@dataclass(frozen=True)
class Copy:
    """Row `copy` is row `original`, edited as `EDITS[kind]`."""

    original: int
    copy: int
    kind: int


def word(chance: Random) -> str:
    return "".join(chance.choices(SYLLABLES, k=chance.randrange(2, 5)))


def words(chance: Random, count: int) -> str:
    return " ".join(word(chance) for _ in range(count))


def _block(head: str, *lines: str) -> str:
    return head + " {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"


def _network(name: str, chance: Random) -> str:
    net, part = chance.randrange(256), chance.randrange(256)
    names = f"enable_dns_hostnames = {chance.choice(('true', 'false'))}"
    return _block(f'resource "aws_vpc" "{name}"', f'cidr_block = "10.{net}.0.0/16"', names) + (
        _block(f'resource "aws_subnet" "{name}_{word(chance)}"', f"vpc_id     = aws_vpc.{name}.id",
               f'cidr_block = "10.{net}.{part}.0/24"', f'availability_zone = "eu-west-1{chance.choice("abc")}"')
    )  # fmt: skip


def _queue(name: str, chance: Random) -> str:
    return _block(f'resource "aws_sqs_queue" "{name}"', f'name = "{word(chance)}-{word(chance)}"',
                  f"visibility_timeout_seconds = {chance.randrange(30, 40000)}",
                  f"message_retention_seconds  = {chance.randrange(60, 1209600)}",
                  f"delay_seconds = {chance.randrange(900)}")  # fmt: skip


def _bucket(name: str, chance: Random) -> str:
    return _block(f'resource "aws_s3_bucket" "{name}"', f'bucket = "{word(chance)}-{word(chance)}"') + _block(
        f'resource "aws_s3_bucket_versioning" "{name}"', f"bucket = aws_s3_bucket.{name}.id",
        "versioning_configuration {", f'  status = "{chance.choice(("Enabled", "Suspended"))}"', "}",
    )  # fmt: skip


def _table(name: str, chance: Random) -> str:
    key = word(chance)
    return _block(f'resource "aws_dynamodb_table" "{name}"', f'name         = "{word(chance)}-{word(chance)}"',
                  'billing_mode = "PAY_PER_REQUEST"', f'hash_key     = "{key}"', "attribute {", f'  name = "{key}"',
                  f'  type = "{chance.choice("SN")}"', "}")  # fmt: skip


def _topic(name: str, chance: Random) -> str:
    return _block(f'resource "aws_sns_topic" "{name}"', f'name         = "{word(chance)}"',
                  f'display_name = "{words(chance, 4)}"')  # fmt: skip


def _parameter(name: str, chance: Random) -> str:
    return _block(f'resource "aws_ssm_parameter" "{name}"', f'name  = "/{word(chance)}/{word(chance)}"',
                  'type  = "String"', f'value = "{words(chance, 3)}"',
                  f'description = "{words(chance, 5)}"')  # fmt: skip


def _logs(name: str, chance: Random) -> str:
    days = chance.choice((1, 3, 5, 7, 14, 30, 60, 90))
    return _block(f'resource "aws_cloudwatch_log_group" "{name}"', f'name = "/{word(chance)}/{word(chance)}"',
                  f"retention_in_days = {days}")  # fmt: skip


def _alarm(name: str, chance: Random) -> str:
    return _block(f'resource "aws_cloudwatch_metric_alarm" "{name}"', f'alarm_name = "{word(chance)}-{word(chance)}"',
                  'comparison_operator = "GreaterThanThreshold"', f"evaluation_periods  = {chance.randrange(1, 9)}",
                  f'metric_name = "{word(chance)}"', f'namespace   = "{word(chance)}"', "period    = 60",
                  f'statistic = "{chance.choice(("Sum", "Average", "Maximum"))}"',
                  f"threshold = {chance.randrange(1, 5000)}")  # fmt: skip


PARTS: tuple[Callable[[str, Random], str], ...] = (
    _network, _queue, _bucket, _table, _topic, _parameter, _logs, _alarm,
)  # fmt: skip


def row(chance: Random) -> dict[str, str]:
    """Return one row of five parts with random names and values."""
    parts = chance.sample(PARTS, 5)
    request = ", ".join(f"a {part.__name__[1:]} for {word(chance)}" for part in parts)
    text = "\n".join(part(word(chance), chance) for part in parts)
    return {"instruction": f"For {words(chance, 3)}, write Terraform with {request}.", "response": text}


def edited(text: str, kind: int, chance: Random) -> str:
    """Return a copy of a program with edits of one kind; the copy still parses."""
    lines = text.split("\n")
    values = [i for i, line in enumerate(lines) if '= "' in line]
    share = 20 if kind == 0 else 10
    for index in chance.sample(values, min(len(values), max(1, len(lines) // share))):
        before, _, _ = lines[index].partition('"')
        replaced = kind == len(EDITS) - 1
        lines[index] = f'  {word(chance)} = "{words(chance, 2)}"' if replaced else f'{before}"{word(chance)}"'
    return "\n".join(lines)


def dataset(count: int, seed: int = 6) -> tuple[Iterator[dict[str, str]], list[Copy]]:
    """Return an iterator of `count` rows, and the list of copies, which is complete once all rows are read."""
    copies: list[Copy] = []

    def rows() -> Iterator[dict[str, str]]:
        chance = Random(seed)  # noqa: S311 - a reproducible mix
        recent: list[dict[str, str]] = []
        for number in range(count):
            if number % ROWS_PER_COPY == ROWS_PER_COPY - 1:
                kind, back = len(copies) % len(EDITS), chance.randrange(1, ROWS_PER_COPY - 1)
                original = recent[-back]
                copies.append(Copy(number - back, number, kind))
                next_row = {**original, "response": edited(original["response"], kind, chance)}
            else:
                next_row = row(chance)
            recent = [*recent[-ROWS_PER_COPY:], next_row]
            yield next_row

    return rows(), copies


def write(path: Path, rows: Iterator[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8") as out:
        for record in rows:
            out.write(json.dumps(record) + "\n")
