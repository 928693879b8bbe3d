"""A little of the fuzzing that `make test-long` does at length, drawn anew for each commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraform_verifier.terraform.toolchain import Terraform

from ..drawn import some_of_each
from ..long.fuzzing import KINDS, Property, check
from ..long.test_fuzz_service import send_malformed, serving
from ..long.test_fuzz_terraform import check_both_read_the_same
from ..long.test_fuzz_verifier import LARGE, check_large, judged, rewritten

PROGRAMS, READ_BY_BOTH, REQUESTS, LARGE_TEXTS = 500, 250, 150, 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prop", [judged, rewritten])
def test_generated_programs(prop: Property, kind: str) -> None:
    print(check(prop, kind, PROGRAMS))


@pytest.mark.parametrize("name", some_of_each(list(LARGE), lambda _: ["large"], LARGE_TEXTS))
def test_large_texts_take_seconds(name: str) -> None:
    check_large(name)


@pytest.mark.parametrize("kind", KINDS)
def test_both_parsers_read_the_same(terraform: Terraform, tmp_path: Path, kind: str) -> None:
    check_both_read_the_same(terraform, tmp_path, kind, READ_BY_BOTH)


async def test_malformed_requests() -> None:
    async with serving() as port:
        await send_malformed(port, REQUESTS)
