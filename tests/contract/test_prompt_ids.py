"""The ids of a prompt are the same in the trainer, which teaches and measures them, and in the gateway."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from loraform_api.heartbeat import RouteAdapter
from loraform_demo.corpus import suite_rows
from loraform_engine.prompting import PROGRAM
from loraform_gateway.answering import Answerer
from loraform_gateway.errors import ApiError
from loraform_trainer.prepare.dataset.row_tokens import encode_rows
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.runtime import tokens

from ..drawn import seed
from ..tokenizers_of_bases import KINDS, UNFLAGGED, write_base

MARKUP = ["</s>", "<|end|>", *UNFLAGGED]


def rows() -> list[TrainingRow]:
    """Return 200 suite-like rows; of those without input one in ten is long, and one in ten spells control tokens."""
    suite = suite_rows(200, Random(seed()).getrandbits(32))
    drawn = [TrainingRow("", row.instruction, row.input, row.response) for row in suite]
    plain = [row for row in drawn if not row.input]
    long = [TrainingRow("", row.instruction, PROGRAM, row.response) for row in plain[::10]]
    marked = [TrainingRow("", f"{row.instruction} {' '.join(MARKUP)}", "", row.response) for row in plain[1::10]]
    return [*drawn[len(long) + len(marked) :], *long, *marked]


@pytest.mark.parametrize("kind", KINDS)
async def test_training_evaluation_and_serving_have_the_same_ids(tmp_path: Path, kind: str) -> None:
    base, asked = write_base(tmp_path, KINDS[kind]()), rows()
    assert len(asked) == 200
    assert 20 <= sum(bool(row.input) for row in asked) <= 180
    vocabulary = tokens.load(base)
    trained, _ = encode_rows(vocabulary, asked)
    evaluated = [vocabulary.tokens(row.instruction, row.input) for row in asked]
    gateway = Answerer(cast("Any", None), cast("Any", None), cast("Any", None))
    prompter = await gateway.prompter(str(base), adapter(vocabulary.template_hash))
    served = [prompter.tokens(row.instruction, row.input) for row in asked]
    assert trained == evaluated == served
    assert max(map(len, served)) > 3000
    assert not any(vocabulary.encoder.control & set(ids[len(vocabulary.prefix) :]) for ids in served)


async def test_the_gateway_refuses_a_version_that_another_reader_made(tmp_path: Path) -> None:
    base = write_base(tmp_path, KINDS["truncating"]())
    with pytest.raises(ApiError, match="was trained with prompt template") as caught:
        await Answerer(cast("Any", None), cast("Any", None), cast("Any", None)).prompter(str(base), adapter("0" * 64))
    assert caught.value.code == "template_mismatch"


def adapter(template_hash: str) -> RouteAdapter:
    return RouteAdapter(
        version=1, digest="a" * 64, path="/mnt/store/a", template_hash=template_hash, max_new_tokens=1, created=0
    )
