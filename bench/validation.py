"""Benchmark 7: CPU seconds to validate programs, compared with `init && validate` of each program alone.

    python bench/validation.py --output bench/results/validation.json

Four in five programs are valid; the others have an unknown argument, an unknown type, a missing argument, an undeclared
reference or a syntax error. A quarter has `terraform` and `provider` blocks, a quarter an input variable without a
default. The peer gets the same programs, each in a fresh folder, with the same provider mirror, and is measured on a
sample; its time is scaled. The benchmark fails if the verdicts differ.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from loraform_api.verification import VALIDITY, Program, VerifyRequest
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform, discover
from loraform_verifier.verify import Verifier

SIZES = (100, 500)
SAMPLE = 10
PAIRS = 3
VALID = (
    'resource "aws_vpc" "{n}" {{\n  cidr_block = "10.{i}.0.0/16"\n}}\n'
    'resource "aws_subnet" "{n}" {{\n  vpc_id     = aws_vpc.{n}.id\n  cidr_block = "10.{i}.1.0/24"\n}}\n',
    'resource "aws_sqs_queue" "{n}" {{\n  name                      = "{n}"\n  message_retention_seconds = {i}00\n}}\n',
    'resource "aws_s3_bucket" "{n}" {{\n  bucket = "{n}"\n}}\n'
    'resource "aws_s3_bucket_versioning" "{n}" {{\n  bucket = aws_s3_bucket.{n}.id\n  versioning_configuration {{\n'
    '    status = "Enabled"\n  }}\n}}\n',
    'resource "aws_iam_role" "{n}" {{\n  name               = "{n}"\n  assume_role_policy = jsonencode({{\n'
    '    Version = "2012-10-17"\n    Statement = [{{\n      Effect = "Allow", Action = "sts:AssumeRole",\n'
    '      Principal = {{ Service = "ec2.amazonaws.com" }}\n    }}]\n  }})\n}}\n',
    'resource "aws_dynamodb_table" "{n}" {{\n  name         = "{n}"\n  billing_mode = "PAY_PER_REQUEST"\n'
    '  hash_key     = "id"\n  attribute {{\n    name = "id"\n    type = "S"\n  }}\n}}\n',
)
BROKEN = (
    'resource "aws_vpc" "{n}" {{\n  cidr_blok = "10.{i}.0.0/16"\n}}\n',
    'resource "aws_vpcs" "{n}" {{\n  cidr_block = "10.{i}.0.0/16"\n}}\n',
    'resource "aws_subnet" "{n}" {{\n  cidr_block = "10.{i}.1.0/24"\n}}\n',
    'resource "aws_subnet" "{n}" {{\n  vpc_id = aws_vpc.other.id\n}}\n',
    'resource "aws_vpc" "{n}" {{\n  cidr_block = "10.{i}.0.0/16"\n',
)
SETTINGS = (
    'terraform {{\n  required_version = ">= 1.5"\n  required_providers {{\n'
    '    aws = {{\n      source  = "hashicorp/aws"\n      version = ">= 5.0"\n    }}\n  }}\n}}\n'
    'provider "aws" {{\n  region = "eu-west-1"\n}}\n'
)
INPUT = 'variable "owner" {{\n  type = string\n}}\nlocals {{\n  owner = var.owner\n}}\n'


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU and wall time."""

    cpu: float
    wall: float


def program(number: int, chance: random.Random) -> str:
    """Return a random program."""
    text = chance.choice(VALID if chance.random() < 0.8 else BROKEN)
    text = (SETTINGS if chance.random() < 0.25 else "") + (INPUT if chance.random() < 0.25 else "") + text
    return text.format(n=f"thing{number}", i=number % 200 + 10)


def cpu() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measured(work: Callable[[], list[bool]]) -> tuple[list[bool], Cost]:
    """Return the result of `work` and its cost."""
    wall, before = time.monotonic(), cpu()
    result = work()
    return result, Cost(cpu() - before, time.monotonic() - wall)


def ours(texts: list[str], terraform: Terraform, *, kept: bool) -> list[bool]:
    """Return the verifier's result for each program; the cost of a kept provider's start and end is included."""
    programs = [Program(id=str(number), text=text) for number, text in enumerate(texts)]
    request = VerifyRequest(programs=programs, stages=list(VALIDITY))
    with ProviderServers(terraform) as keeper:
        answer = Verifier(terraform, servers=keeper if kept else None).verify(request)
    return [verdict.passed for verdict in answer.verdicts]


def peer(texts: list[str], terraform: Terraform) -> list[bool]:
    """Return the result of `terraform init && terraform validate` for each program, in a fresh folder."""
    return [_alone(text, terraform) for text in texts]


def _alone(text: str, terraform: Terraform) -> bool:
    mirror = terraform.providers[0].folder.parents[4]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "main.tf").write_text(text)
        installation = f'filesystem_mirror {{\n    path = "{mirror}"\n  }}'
        (folder / "cli.tfrc").write_text(f"disable_checkpoint = true\nprovider_installation {{\n  {installation}\n}}\n")
        env = os.environ | {"TF_CLI_CONFIG_FILE": str(folder / "cli.tfrc"), "CHECKPOINT_DISABLE": "1"}
        for arguments in (["init", "-backend=false", "-input=false"], ["validate", "-json"]):
            done = subprocess.run(
                [str(terraform.binary), *arguments], cwd=folder, env=env, capture_output=True, check=False
            )
        return done.returncode == 0


def counted(terraform: Terraform, folder: Path) -> tuple[Terraform, Path]:
    """Return the toolchain with wrapper scripts that log each start to a file, and that file."""
    log = folder / "starts"
    binary = _write_wrapper(folder / "terraform", terraform.binary, log)
    providers = []
    for provider in terraform.providers:
        real = next(provider.folder.glob("terraform-provider-*"))
        target = folder / provider.type / provider.folder.name
        target.mkdir(parents=True)
        _write_wrapper(target / real.name, real, log)
        providers.append(replace(provider, folder=target))
    return replace(terraform, binary=binary, providers=tuple(providers)), log


def _write_wrapper(script: Path, real: Path, log: Path) -> Path:
    script.write_text(f'#!/bin/sh\necho {real.name} >> {log}\nexec {real} "$@"\n')
    script.chmod(0o755)
    return script


def starts(texts: list[str], terraform: Terraform, *, kept: bool) -> dict[str, int]:
    """Return the number of starts of terraform and of its providers for one batch."""
    with tempfile.TemporaryDirectory() as name:
        wrapped, log = counted(terraform, Path(name))
        with patch.object(isolation, "landlock", lambda: 0):  # the wrappers write and start files outside the sandbox
            ours(texts, wrapped, kept=kept)
        lines = log.read_text().split()
    return {"terraform": sum(line.startswith("terraform") and "provider" not in line for line in lines),
            "provider": sum("provider" in line for line in lines)}  # fmt: skip


def benchmark(size: int, terraform: Terraform, sample: list[int], texts: list[str]) -> dict[str, Any]:
    """Compare both on `size` programs; raises SystemExit if their verdicts differ."""
    chosen = texts[:size]
    result: dict[str, Any] = {"programs": size}
    for name, kept in (("own provider", False), ("kept provider", True)):
        ratios, costs = [], []
        for turn in range(PAIRS):
            order = [False, True] if turn % 2 else [True, False]
            for is_ours in order:
                if is_ours:
                    verdicts, cost = measured(lambda kept=kept: ours(chosen, terraform, kept=kept))  # type: ignore[misc]
                else:
                    peer_verdicts, peer_cost = measured(lambda: peer([chosen[i] for i in sample], terraform))
            differing = [i for i, passed in zip(sample, peer_verdicts, strict=True) if verdicts[i] != passed]
            if differing:
                raise SystemExit(f"verdicts differ for the programs {differing}")
            scaled = peer_cost.cpu / len(sample) * size
            ratios.append(scaled / cost.cpu)
            costs.append((cost, scaled))
        best = sorted(ratios)[len(ratios) // 2]
        cost, scaled = costs[ratios.index(best)]
        result[name] = {
            "cpu_seconds": round(cost.cpu, 2),
            "wall_seconds": round(cost.wall, 2),
            "peer_cpu_seconds": round(scaled, 1),
            "ratio": round(best, 1),
            "ratio_range": [round(min(ratios), 1), round(max(ratios), 1)],
            "starts": starts(chosen, terraform, kept=kept),
        }
    result["valid"] = sum(verdicts)
    return result


def main() -> int:
    """Run all sizes, print the figures and write the JSON."""
    parser = argparse.ArgumentParser(description="Compare validation throughput with terraform init and validate.")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    output = parser.parse_args().output
    terraform = discover()
    chance = random.Random(7)  # noqa: S311 - a reproducible mix
    texts = [program(number, chance) for number in range(max(SIZES))]
    sample = sorted(chance.sample(range(min(SIZES)), SAMPLE))
    toolchain = terraform.provenance().model_dump(exclude={"packs"})
    figures = {"benchmark": "validation", "toolchain": toolchain, "load": os.getloadavg()[0], "sample": SAMPLE}
    figures["sizes"] = [benchmark(size, terraform, sample, texts) for size in SIZES]
    for entry in figures["sizes"]:
        for name in ("own provider", "kept provider"):
            e = entry[name]
            print(f"{entry['programs']} programs, {name}: {e['cpu_seconds']} s CPU against {e['peer_cpu_seconds']} s: "
                  f"{e['ratio']}x ({e['ratio_range'][0]}..{e['ratio_range'][1]}), starts {e['starts']}")  # fmt: skip
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
