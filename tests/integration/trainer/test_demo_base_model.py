"""The tiny base model before training: it copies from the start, and its tokenizer cuts names the same everywhere."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest
import torch

from loraform_demo.batches import IGNORED, Encoder
from loraform_demo.corpus import base_rows
from loraform_demo.muon import orthogonal
from loraform_demo.tokenizer import EOS, train_tokenizer
from loraform_demo.training import Recipe, new_model, schedule
from loraform_engine.prompt import render


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    rows = islice(base_rows(1), 800)
    return Encoder(train_tokenizer(["".join([*render(row.instruction, row.input), row.response]) for row in rows]))


def test_a_name_has_the_same_pieces_in_prompt_and_answer(encoder: Encoder) -> None:
    name = "zuvalo-archive-7"
    pieces = encoder.encode(name)
    for text in (f"Create a queue named {name}. It has", f'  name = "{name}"\n}}', f"name: {name}\nsize: 3"):
        ids = encoder.encode(text)
        assert any(ids[i : i + len(pieces)] == pieces for i in range(len(ids)))


def test_text_survives_encoding_and_cannot_hold_the_end_token(encoder: Encoder) -> None:
    text = f'grüße {EOS} "10.0.0.0/16"\n\ttags'
    ids = encoder.encode(text)
    assert encoder.eos not in ids
    assert encoder.tokenizer.decode(ids, skip_special_tokens=False) == text


def test_only_the_answer_and_its_end_are_learnt(encoder: Encoder) -> None:
    row = next(base_rows(3))
    ids, prompt = encoder.example(row)
    batch = encoder.batch([(ids, prompt), (ids[:-3], prompt)])
    assert batch.labels[0].tolist() == [IGNORED] * prompt + ids[prompt:]
    assert ids[-1] == encoder.eos
    assert batch.ids[1, -3:].tolist() == [encoder.pad] * 3 and batch.labels[1, -3:].tolist() == [IGNORED] * 3


def test_an_untrained_model_repeats_what_followed_an_earlier_copy(encoder: Encoder) -> None:
    torch.manual_seed(1)
    vocabulary = 300
    model = new_model(vocabulary, encoder)
    first = Random(1).sample(range(vocabulary), 60)
    ids = torch.tensor([first + first[20:50]])
    with torch.no_grad():
        predicted = model(ids).logits[0].argmax(-1)
    right = (predicted[60:89] == ids[0, 61:90]).float().mean()
    assert right > 0.8


def test_orthogonal_brings_singular_values_near_one() -> None:
    torch.manual_seed(2)
    for shape in ((2, 24, 64), (1, 64, 24)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.5 and values.max() < 1.3


def test_the_learning_rate_rises_then_falls_to_a_fiftieth() -> None:
    recipe = Recipe(steps=100, warmup=10)
    rates = [schedule(step, recipe) for step in range(101)]
    assert rates[9] == 1.0 and max(rates) == 1.0
    assert rates[100] == pytest.approx(0.02)
