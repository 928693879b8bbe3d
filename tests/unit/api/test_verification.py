"""The sizes of programs and requests."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from loraform_api.verification import (
    MAX_PROGRAM_BYTES,
    MAX_REQUEST_BYTES,
    MAX_TEXT,
    Program,
    Stage,
    VerifyRequest,
    requests_of,
)

FULL = Program(id="p", files={f"f{n}.tf": "x" * MAX_TEXT for n in range(MAX_PROGRAM_BYTES // MAX_TEXT)})


def test_a_program_of_the_largest_size_is_allowed() -> None:
    assert FULL.size == MAX_PROGRAM_BYTES


def test_one_byte_more_is_refused_with_the_size_and_the_fix() -> None:
    with pytest.raises(ValidationError, match="have 1000001 bytes in all, allowed are 1000000: split the program"):
        Program(id="p", text="x", files=FULL.files)


def test_bytes_are_counted_not_characters() -> None:
    assert Program(id="p", text="\u00e4").size == 2
    with pytest.raises(ValidationError, match="have 1200000 bytes in all"):
        Program(id="p", files={f"f{n}.tf": "\u00e4" * MAX_TEXT for n in range(3)})


def test_a_request_beyond_its_size_is_refused_with_the_size_and_the_fix() -> None:
    most = MAX_REQUEST_BYTES // MAX_PROGRAM_BYTES
    VerifyRequest(programs=[FULL] * most, stages=[Stage.PARSE])
    with pytest.raises(ValidationError, match="have 17000000 bytes in all, allowed are 16000000: send fewer programs"):
        VerifyRequest(programs=[FULL] * (most + 1), stages=[Stage.PARSE])


def test_programs_are_divided_into_requests_of_the_allowed_size() -> None:
    small = Program(id="s", text="x")
    programs = [small, *[FULL] * 17, small, small]
    parts = list(requests_of(programs, 500))
    assert [len(part) for part in parts] == [16, 4]
    assert [program for part in parts for program in part] == programs
    assert [len(part) for part in requests_of([small] * 7, 3)] == [3, 3, 1]
    assert list(requests_of([], 3)) == []
