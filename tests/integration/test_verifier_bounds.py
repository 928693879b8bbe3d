"""What a request may cost the verifier itself: peak memory and processor time of a process that verifies bombs.

Each case runs in a process of its own, as a peak never falls. Terraform is left out: its limits are tested elsewhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

MIB = 1024 * 1024
PARENT = 160 * MIB
"""Memory of the serving process: no syntax tree is in it."""
MEASURE = """
import json, os, sys, time
from pathlib import Path
from loraform_api.verification import HousePolicy, IntentSpec, Program, Stage, VerifyRequest
from loraform_verifier.stages.bounded import shared_worker
from loraform_verifier.terraform.validate import ValidateOutcome, Validator
from loraform_verifier.verify import Verifier

class AcceptsAll(Validator):
    def __init__(self): pass
    def validate(self, programs): return [ValidateOutcome() for _ in programs]

def seconds(pid):
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100

def peak(pid):
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024

asked = IntentSpec(types=["aws_vpc"])
programs = [Program(id=str(n), asked=asked, **p) for n, p in enumerate(json.load(sys.stdin))]
policy = HousePolicy(comment="# ours", tags={"owner": "us"}, default_tags="Counted")
stages = [Stage.PARSE, Stage.SCHEMA, Stage.VALIDATE, Stage.POLICY, Stage.INTENT]
stages = stages[:1] if "--parse" in sys.argv else stages
request = VerifyRequest(programs=programs, stages=stages, policy=policy)
verifier, worker = Verifier(validator=AcceptsAll()), shared_worker()
worker.start()
before = time.process_time() + seconds(worker.pid)
response = verifier.verify(request)
after = time.process_time() + seconds(worker.pid)
codes = sorted({d.code for v in response.verdicts for s in v.stages for d in s.diagnostics if s.inconclusive})
print(json.dumps({
    "parent": peak(os.getpid()),
    "worker": peak(worker.pid),
    "seconds": after - before,
    "bytes": sum(p.size for p in programs),
    "inconclusive": codes,
}))
"""


def block(head: str, body: str) -> str:
    return f"{head} {{\n{body}}}\n"


def text(program: str) -> dict[str, object]:
    return {"text": program}


DENSE = block("locals", "  x = [" + "1," * 98_000 + "1]\n")
LOCALS = (
    block("locals", "".join(f"  a{n} = local.a{n + 1}\n" for n in range(2900)) + '  a2900 = "v"\n')
    + block(
        'provider "aws"',
        block(
            "default_tags",
            "tags = {\n" + "".join(f"  tag-of-a-long-name-{n} = local.a0\n" for n in range(2000)) + "}\n",
        ),
    )
    + 'resource "aws_vpc" "a" {\n}\n'
)
TAGS = block("  tags =", '    a = "b"\n')
RESOURCES = "".join(
    block(f'resource "aws_instance" "a{n}"', '  ami = "x"\n  instance_type = "t3.micro"\n' + TAGS) for n in range(150)
)


@dataclass(frozen=True)
class Bomb:
    programs: list[dict[str, object]]
    worker: int
    """Bytes that the worker may hold."""
    seconds: float
    """Processor time that all checks may take; about three times what they take on an idle machine."""


BOMBS = {
    "a dense text of 196 kB": Bomb([text(DENSE)], 220 * MIB, 8),
    "two thousand tags through a chain of locals": Bomb([text(LOCALS)], 160 * MIB, 5),
    "433 folders in one call": Bomb([text(RESOURCES)] * 433, 160 * MIB, 20),
    "a constraint of 8,000 bounds": Bomb(
        [text(block("terraform", f'  required_version = "{", ".join(">= 0.1" for _ in range(8000))}"\n'))],
        160 * MIB,
        3,
    ),
    "2,000 secrets and a prompt of 500,000 characters": Bomb(
        [
            {
                "text": block("locals", "".join(f'  a{n}_password = "hunter{n}x"\n' for n in range(2000))),
                "prompt": "word " * 100_000,
            }
        ],
        200 * MIB,
        10,
    ),
}


def measured(programs: list[dict[str, object]], *options: str) -> dict[str, float]:
    finished = subprocess.run(
        [sys.executable, "-c", MEASURE, *options],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(finished.stdout)
    memory = " + ".join(f"{figures[process] / MIB:.0f}" for process in ("parent", "worker"))
    print(f"{figures['bytes'] / 1e3:.0f} kB: {memory} MiB, {figures['seconds']:.2f} CPU-s, {figures['inconclusive']}")
    return figures


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little(name: str) -> None:
    bomb = BOMBS[name]
    figures = measured(bomb.programs)
    assert figures["parent"] < PARENT
    assert figures["worker"] < bomb.worker
    assert figures["seconds"] < bomb.seconds
    assert figures["inconclusive"] in ([], ["SchemaMissing"], ["TagUndecided"])


def test_the_largest_dense_program_fits_into_the_workers_memory() -> None:
    files = {f"f{n}.tf": DENSE for n in range(5)}
    figures = measured([{"files": files}], "--parse")  # each stage costs the same again, and no more memory
    assert figures["parent"] < PARENT
    assert figures["worker"] < 700 * MIB
    assert figures["inconclusive"] == []


@pytest.mark.slow
def test_the_largest_request_fits_into_the_container() -> None:
    program = {"files": {f"f{n}.tf": DENSE for n in range(5)}}
    figures = measured([program] * 16)
    assert figures["parent"] + figures["worker"] < 1200 * MIB
    assert figures["inconclusive"] == []
