"""Training rows that a suite asks about."""

from __future__ import annotations

from loraform_trainer.prepare.dataset.canonical import digest
from loraform_trainer.prepare.dataset.decontaminate import HeldOut, Match, SuiteIndex
from loraform_trainer.prepare.dataset.shingles import shingled

LONG = b"please write an encrypted queue for the billing team with a delay of nine seconds and a name"
ROWS = [
    HeldOut("first", b"make a bucket"),
    HeldOut("second", LONG, b'resource "aws_sqs_queue" "billing" { name = "b" }'),
]


def match(prompt: bytes, program: bytes = b"x = 1", rows: list[HeldOut] = ROWS) -> Match | None:
    index = SuiteIndex(rows)
    return index.matches([digest(prompt)], [digest(program)], shingled([prompt]), shingled([program]), 0.5)[0]


def test_an_equal_prompt_is_found() -> None:
    assert match(b"make a bucket") == Match("first", "prompt", 1.0, exact=True)


def test_an_equal_program_is_found_whatever_the_prompt() -> None:
    found = match(b"something else", ROWS[1].program)
    assert found == Match("second", "program", 1.0, exact=True)


def test_a_near_prompt_is_found_with_its_similarity() -> None:
    found = match(LONG + b" today")
    assert found is not None
    assert (found.id, found.what, found.exact) == ("second", "prompt", False)
    assert 0.9 < found.similarity < 1


def test_literals_count() -> None:
    found = match(LONG.replace(b"billing", b"sales").replace(b"nine", b"ten"))
    assert found is None or found.similarity < 0.5


def test_a_row_without_a_reference_is_no_empty_program() -> None:
    assert match(b"else", b"") is None


def test_of_several_the_closest_is_named() -> None:
    rows = [HeldOut("far", LONG + b" and a tag or two more"), HeldOut("near", LONG + b" please")]
    found = match(LONG, rows=rows)
    assert found is not None
    assert found.id == "near"


def test_many_rows_at_once_keep_their_own_matches() -> None:
    prompts = [b"make a bucket" if i % 3 == 0 else b"row %d of many" % i for i in range(200)]
    index = SuiteIndex(ROWS)
    programs = [b"x"] * 200
    found = index.matches([digest(p) for p in prompts], [0] * 200, shingled(prompts), shingled(programs), 0.5)
    assert [i for i, one in enumerate(found) if one] == list(range(0, 200, 3))
