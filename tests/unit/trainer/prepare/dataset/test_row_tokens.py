"""Token ids of rows that are encoded in a batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraform_engine.prompting import Prompter
from loraform_trainer.prepare.dataset.row_tokens import encode_rows
from loraform_trainer.prepare.dataset.rows import TrainingRow

from ...tiny_tokenizer import load_tiny

TEXT = st.text(max_size=80)
ROWS = st.lists(st.builds(TrainingRow, st.just("a:1"), TEXT, TEXT, TEXT), max_size=6)


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no bos"])
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prompter:
    return load_tiny(tmp_path_factory.mktemp("base"), request.param)


@given(rows=ROWS)
def test_a_batch_has_the_ids_of_single_rows(vocabulary: Prompter, rows: list[TrainingRow]) -> None:
    prompts, responses = encode_rows(vocabulary, rows)
    assert prompts == [vocabulary.tokens(row.instruction, row.input) for row in rows]
    assert responses == [vocabulary.response(row.response) for row in rows]


def test_special_tokens_in_text_are_encoded_as_text(vocabulary: Prompter) -> None:
    prompts, responses = encode_rows(vocabulary, [TrainingRow("a:1", "say <|end|>", "<|end|>", "<|end|>")])
    assert vocabulary.ends[0] not in prompts[0]
    assert responses[0].count(vocabulary.ends[0]) == 1
