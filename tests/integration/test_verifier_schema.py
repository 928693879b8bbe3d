"""The Schema stage against the real terraform: it may say less, but never more.

Good programs and what becomes of them by wrong edits go through both. What terraform accepts, Schema must accept; how
much of what terraform rejects Schema finds is printed class by class.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from loraform_api.verification import Diagnostic, Program, Stage, StageResult, VerifyRequest
from loraform_cli.schema import add_parser, run
from loraform_verifier.hcl.parse import parse
from loraform_verifier.schema.catalogue import DATA, Catalogue, default
from loraform_verifier.schema.check import check_document
from loraform_verifier.schema.findings import HALLUCINATION_CODES
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.verify import Verifier

from .schema_programs import broken, good

SUITE = Path(__file__).resolve().parents[3] / "shared/data/iac-eval-dev.jsonl"
SEED = 20
FOUND_ALWAYS = ("InvalidResourceType", "InvalidDataSource", "IncorrectAttributeValueType", "UnsupportedBlockType")
"""Classes of which Schema misses none here; the providers' own checks share the words of the others."""
GENEROUS_SECONDS = 0.02
"""Processor time of one program, on average; the aim is a tenth of it, and much less is usual."""


@dataclass(frozen=True)
class Judged:
    """What the two say of one program."""

    text: str
    terraform: StageResult
    schema: list[Diagnostic]

    @property
    def classes(self) -> set[str]:
        return {found.code for found in self.terraform.diagnostics}


@pytest.fixture(scope="module")
def judged(terraform: Terraform) -> list[Judged]:
    """Good programs and their broken forms, judged by both; what does not parse or must not run is left out."""
    catalogue, rng = default(), Random(SEED)
    fine = list(good(catalogue, SEED, 60))
    texts = list(dict.fromkeys([*fine, *(broken(text, rng) for text in fine for _ in range(4))]))
    verifier = Verifier(terraform)
    programs = [Program(id=str(index), text=text) for index, text in enumerate(texts)]
    answer = verifier.verify(VerifyRequest(programs=programs, stages=[Stage.PARSE, Stage.VALIDATE]))
    both = []
    for text, verdict in zip(texts, answer.verdicts, strict=True):
        last = verdict.stages[-1]
        if last.stage is Stage.VALIDATE and not last.inconclusive:
            both.append(Judged(text, last, check_document(parse(text), catalogue).errors))
    return both


def test_what_terraform_accepts_schema_accepts(judged: list[Judged]) -> None:
    accepted = [program for program in judged if program.terraform.passed]
    rejected = [program for program in judged if not program.terraform.passed]
    print(f"\n{len(accepted)} programs validate, {len(rejected)} do not")
    assert len(judged) >= 300
    assert len(accepted) >= 50
    assert [(program.text, program.schema) for program in accepted if program.schema] == []


def test_how_much_of_what_terraform_rejects_is_found(judged: list[Judged]) -> None:
    rejected, found = _counts([p for p in judged if p.classes]), _counts([p for p in judged if p.schema])
    print("\nclass, programs that terraform rejects with it, of these rejected by Schema")
    for code, count in sorted(rejected.items(), key=lambda item: -item[1]):
        print(f"  {code:42} {count:4} {found[code]:4}")
    made_up = [program for program in judged if program.classes & HALLUCINATION_CODES]
    caught = [program for program in made_up if program.schema]
    print(f"  made-up names in all: {len(caught)} of {len(made_up)}")
    assert len(made_up) >= 50
    assert len(caught) >= 0.95 * len(made_up)
    assert {code: found[code] for code in FOUND_ALWAYS} == {code: rejected[code] for code in FOUND_ALWAYS}


def _counts(programs: Sequence[Judged]) -> Counter[str]:
    return Counter(code for program in programs for code in program.classes)


def test_a_class_that_schema_names_alone_is_the_class_that_terraform_names(judged: list[Judged]) -> None:
    # Terraform stops at its first kind of error, so only programs with one finding each compare.
    both = [p for p in judged if len(p.schema) == 1 and len(p.terraform.diagnostics) == 1]
    same = [p for p in both if p.schema[0].code == p.terraform.diagnostics[0].code]
    print(f"\n{len(same)} of {len(both)} single findings have terraform's class")
    assert len(both) >= 50
    assert len(same) >= 0.9 * len(both)


@pytest.mark.skipif(not SUITE.exists(), reason="the development suite is not beside the checkout")
@pytest.mark.parametrize("column", ["reference", "response"])
def test_the_development_suite_passes_in_little_time(column: str) -> None:
    catalogue = default()
    documents = [parse(json.loads(line)[column]) for line in SUITE.read_text().splitlines()]
    check_document(documents[0], catalogue)  # reads the schema
    started = time.process_time()
    findings = [check_document(document, catalogue) for document in documents]
    seconds = (time.process_time() - started) / len(documents)
    print(f"\n{column}: {len(documents)} programs, {seconds * 1000:.2f} ms of processor time each")
    assert len(documents) == 122
    assert [found for found in findings if found.errors or found.undecided] == []
    assert seconds <= GENEROUS_SECONDS


NO_PROCESS = """
import sys
sys.path.insert(0, sys.argv[1])
from schema_programs import WRITTEN
from loraform_verifier.hcl.parse import parse
from loraform_verifier.schema.catalogue import default
from loraform_verifier.schema.check import check_document

STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system"}
started = []
sys.addaudithook(lambda event, _: started.append(event) if event in STARTS or event.startswith("socket.") else None)
assert all(check_document(parse(text), default()).errors == [] for text in WRITTEN)
assert started == [], started
"""


def test_no_process_is_started_and_no_terraform_is_needed() -> None:
    command = [sys.executable, "-c", NO_PROCESS, str(Path(__file__).parent)]
    subprocess.run(command, check=True, env={"PATH": "/nonexistent", "HOME": "/nonexistent"})


def test_the_schema_that_comes_with_us_is_what_build_makes(
    terraform: Terraform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    assert run(parser.parse_args(["schema", "build", "-o", str(tmp_path / "made")])) == 0
    assert "1526 resources, 608 data sources, 7 ephemeral resources" in capsys.readouterr().out
    made, ours = Catalogue([tmp_path / "made"]), default()
    aws = ours.versions["hashicorp/aws"]
    if terraform.provenance().providers.get("hashicorp/aws") != aws:
        pytest.skip(f"the mirror's provider is not the bundled {aws}")
    for kind in ("resource", "data", "ephemeral"):
        one, other = made.local("aws"), ours.local("aws")
        assert one is not None
        assert other is not None
        assert list(one.types(kind)) == list(other.types(kind))
    (path,) = (tmp_path / "made").glob("hashicorp_aws_*")
    assert path.read_bytes() == (DATA / path.name).read_bytes()
