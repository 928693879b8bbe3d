"""Training rows that equal or resemble suite rows."""

from __future__ import annotations

from loraform_trainer.prepare.dataset.canonical import digest
from loraform_trainer.prepare.dataset.decontaminate import HeldOut, SuiteIndex, SuiteMatch
from loraform_trainer.prepare.dataset.shingles import shingle_sets

LONG = b"please write an encrypted queue for the billing team with a delay of nine seconds and a name"
ROWS = [
    HeldOut("first", b"make a bucket"),
    HeldOut("second", LONG, b'resource "aws_sqs_queue" "billing" { name = "b" }'),
]


def match(prompt: bytes, program: bytes = b"x = 1", rows: list[HeldOut] = ROWS) -> SuiteMatch | None:
    index = SuiteIndex(rows)
    return index.matches([digest(prompt)], [digest(program)], shingle_sets([prompt]), shingle_sets([program]), 0.5)[0]


def test_an_equal_prompt_is_found() -> None:
    assert match(b"make a bucket") == SuiteMatch("first", "prompt", 1.0, exact=True)


def test_an_equal_program_is_found_with_another_prompt() -> None:
    result = match(b"something else", ROWS[1].program)
    assert result == SuiteMatch("second", "program", 1.0, exact=True)


def test_a_near_prompt_is_found_with_its_similarity() -> None:
    result = match(LONG + b" today")
    assert result is not None
    assert (result.id, result.part, result.exact) == ("second", "prompt", False)
    assert 0.9 < result.similarity < 1


def test_literals_are_compared_too() -> None:
    result = match(LONG.replace(b"billing", b"sales").replace(b"nine", b"ten"))
    assert result is None or result.similarity < 0.5


def test_a_suite_row_without_a_reference_does_not_match_an_empty_program() -> None:
    assert match(b"else", b"") is None


def test_the_most_similar_suite_row_is_returned() -> None:
    rows = [HeldOut("far", LONG + b" and a tag or two more"), HeldOut("near", LONG + b" please")]
    result = match(LONG, rows=rows)
    assert result is not None
    assert result.id == "near"


def test_matches_of_many_rows_are_in_their_order() -> None:
    prompts = [b"make a bucket" if i % 3 == 0 else b"row %d of many" % i for i in range(200)]
    index = SuiteIndex(ROWS)
    programs = [b"x"] * 200
    result = index.matches([digest(p) for p in prompts], [0] * 200, shingle_sets(prompts), shingle_sets(programs), 0.5)
    assert [i for i, one in enumerate(result) if one] == list(range(0, 200, 3))
