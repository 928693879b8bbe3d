"""Token ids of rows that are encoded in a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from loraform_trainer.prepare.dataset.row_tokens import encode_rows
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.tokens import BaseTokens

TEXT = st.text(max_size=80)
ROWS = st.lists(st.builds(TrainingRow, st.just("a:1"), TEXT, TEXT, TEXT), max_size=6)


def build(folder: Path, bos: bool) -> BaseTokens:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|pad|>", "<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(['resource "aws_vpc" "main" {\n  cidr_block = "10.0.0.0/16"\n}\n'] * 4, trainer)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"eos_token_id": 1}))
    loaded = tokens.load(folder)
    return BaseTokens(loaded.tokenizer, 0 if bos else None, loaded.eos, loaded.tokenizer_sha256)


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no bos"])
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BaseTokens:
    return build(tmp_path_factory.mktemp("base"), request.param)


@given(rows=ROWS)
def test_a_batch_has_the_ids_of_single_rows(vocabulary: BaseTokens, rows: list[TrainingRow]) -> None:
    prompts, responses = encode_rows(vocabulary, rows)
    assert prompts == [vocabulary.prompt(row.instruction, row.input) for row in rows]
    assert responses == [vocabulary.response(row.response) for row in rows]


def test_special_tokens_in_text_are_encoded_as_text(vocabulary: BaseTokens) -> None:
    prompts, responses = encode_rows(vocabulary, [TrainingRow("a:1", "say <|end|>", "<|end|>", "<|end|>")])
    assert vocabulary.eos not in prompts[0]
    assert responses[0].count(vocabulary.eos) == 1


def test_a_maximum_length_of_the_tokenizer_is_ignored(vocabulary: BaseTokens) -> None:
    text = "one two three four five six seven"
    assert len(vocabulary.response(text)) > 10
    assert vocabulary.tokenizer.decode(vocabulary.response(text)[:-1]).replace("Ġ", " ").count("e") == text.count("e")
