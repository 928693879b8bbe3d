"""Generated programs read by Terraform's own parser and by ours: both take the same ones, and see the same code.

The oracle is one `terraform fmt` over all of them. It refuses what Terraform cannot read, and puts spaces around the
`+` of `(q+q)` where that is code: so the two are seen to agree on what is code and what is text, too. What we take and
Terraform refuses is met again by Validate; what we refuse and Terraform takes must be of a known class.
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from loraform_verifier.hcl.parse import parse
from loraform_verifier.hcl.tree import text_of, walk
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.toolchain import Terraform, child_environment, discover, write_cli_config

from .fuzzing import KINDS, SEED, program

pytestmark = pytest.mark.slow

PROBE, FORMATTED = "q+q", "q + q"
CASES = 4_000
REFUSED_BY_US = {
    "three sigils before a brace": r"\$\$\$\{|%%%\{",
    "an element of an object on a line of its own that begins like a continuation": r"\n\s*(?:#.*\n\s*)*[-(\[]",
    "a comment of several lines inside a line": r"/\*[^*]*\n",
    "white space in a splat": r"\[\s*\*\s+\]|\[\s+\*",
    "a NUL": r"\x00",
    "a template behind an end marker on its line": r"\n\s*(?:EOT|E|EOF_1|名|end-x)\s*[$%]",
    "an end marker of more than 64 bytes, or no name to the grammar": r"<<-?(?:A{65}|Ł{33}|\u037a|E\u309b)",
}
"""What tree-sitter's grammar cannot read."""
AMBIGUOUS = {"AmbiguousHeredoc", "AmbiguousTemplate"}
"""What we refuse because the two would read it differently."""


@pytest.fixture(scope="module")
def terraform() -> Terraform:
    return discover()


def probed(text: str, random: Random) -> str:
    """Put the probe in some places where it may be code, and in some where it may not."""
    return re.sub(r"\bvar\.\w+|\bx\b|PiCloud", lambda m: f"({PROBE})" if random.randrange(3) == 0 else m[0], text)


def formatted(terraform: Terraform, texts: list[str], home: Path) -> list[str | None]:
    """Return the texts as `terraform fmt` writes them; None for those that it cannot read."""
    folder = home / "programs"
    folder.mkdir()
    for index, text in enumerate(texts):
        (folder / f"p{index}.tf").write_bytes(text.encode())
    write_cli_config(home)
    command = [str(terraform.binary), "fmt", "-list=false", "-write=true", "-no-color"]
    finished = isolation.run(command, cwd=folder, env=child_environment(home), seconds=300, readable=(home,))
    assert not finished.timed_out
    refused = {int(n) for n in re.findall(r" on p(\d+)\.tf line ", (finished.stdout + finished.stderr).decode())}
    return [
        None if index in refused else (folder / f"p{index}.tf").read_bytes().decode() for index in range(len(texts))
    ]


def check_both_read_the_same(terraform: Terraform, home: Path, kind: str, cases: int) -> None:
    """Raise AssertionError when the two read one of so many programs differently."""
    texts = [probed(program(f"{SEED}-read-{n}", kind), Random(n)) for n in range(cases)]
    texts = [text for text in texts if not any("\ud800" <= c <= "\udfff" for c in text)]
    taken = refused = 0
    unlike, unknown, seen = 0, [], []
    for text, theirs in zip(texts, formatted(terraform, texts, home), strict=True):
        document = parse(text)
        if theirs is None:
            refused += not document.problems
        elif document.problems:
            unlike += 1
            known = any(re.search(pattern, text) for pattern in REFUSED_BY_US.values())
            if not known and document.problems[0].code not in AMBIGUOUS:
                unknown.append((text, document.problems[0]))
        else:
            taken += 1
            ours = sum(node.type == "binary_operation" and text_of(node) == PROBE for node in walk(document.root))
            if ours != theirs.count(FORMATTED):
                seen.append((text, ours, theirs))
    print(f"{kind}: {len(texts)} programs, both take {taken}, only we {refused}, only terraform {unlike}, seed {SEED}")
    assert sorted(seen, key=lambda case: len(case[0]))[:3] == [], f"{len(seen)} are read differently"
    assert sorted(unknown, key=lambda case: len(case[0]))[:8] == [], f"{len(unknown)} are refused by us alone"
    assert taken > cases // 20


@pytest.mark.parametrize("kind", KINDS)
def test_both_parsers_read_the_same(terraform: Terraform, tmp_path: Path, kind: str) -> None:
    check_both_read_the_same(terraform, tmp_path, kind, CASES)
