"""Benchmark 1: what packing, accumulation and the fused loss compute is what plain transformers computes, in float32.

The reference is as plain as can be: transformers' own SDPA attention, one row at a time, all logits, torch's
cross-entropy. A control that is known to be wrong has to be found wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from peft import PeftModel
from safetensors.torch import load_file

from loraform_trainer.runtime.errors import BaseModelInvalidError
from loraform_trainer.train import parity
from loraform_trainer.train.collate import Pack, collate, filler
from loraform_trainer.train.layers import attention
from loraform_trainer.train.layers.loss import PackLoss, linear_cross_entropy, rows_per_chunk
from loraform_trainer.train.token_rows import TokenRows

from . import tiny_models
from .tiny_models import END, VOCABULARY, adapted, apart, gradients, random_rows, rows_of

LOSS, GRADIENT = 1e-6, 1e-5
ALL = range(8)


@pytest.fixture(params=["llama", "qwen2"])
def base(request: pytest.FixtureRequest) -> Callable[..., Any]:
    made: Callable[..., Any] = getattr(tiny_models, request.param)
    return made


@pytest.fixture
def rows() -> TokenRows:
    return random_rows(len(ALL))


def reference(model: Any, rows: TokenRows, numbers: Any = ALL) -> tuple[float, dict[str, torch.Tensor]]:
    """Mean loss and gradients, one row at a time by transformers alone."""
    labels = int(rows.response_lengths[list(numbers)].sum())
    total = 0.0
    for number in numbers:
        row = rows[number]
        ids = torch.tensor([[*row.prompt_ids, *row.response_ids]])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1]
        loss = F.cross_entropy(logits, torch.tensor(row.response_ids), reduction="sum") / labels
        loss.backward()
        total += loss.item()
    return total, gradients(model)


def packed(model: Any, packs: list[Pack], *, fused: bool = True) -> tuple[float, dict[str, torch.Tensor]]:
    """Mean loss and gradients as the trainer takes them."""
    loss, labels = PackLoss(model.get_base_model(), fused), sum(len(pack.labels) for pack in packs)
    total = 0.0
    for pack in packs:
        part = loss(pack) / labels
        part.backward()
        total += part.item()
    return total, gradients(model)


def compare(one: tuple[float, Any], other: tuple[float, Any]) -> tuple[float, float]:
    return abs(one[0] - other[0]) / abs(other[0]), apart(one[1], other[1])


def ways(rows: TokenRows) -> dict[str, list[Pack]]:
    return {
        "one pack": [collate(rows, ALL)],
        "accumulation 8 x 1": [collate(rows, [i]) for i in ALL],
        "accumulation 3 + 5": [collate(rows, [0, 1, 2]), collate(rows, [3, 4, 5, 6, 7])],
        "with a pack without labels": [collate(rows, ALL), filler(rows)],
    }


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "own logits"])
@pytest.mark.parametrize("way", list(ways(random_rows(len(ALL)))))
def test_packed_rows_have_the_loss_and_gradient_of_rows_alone(
    base: Any, rows: TokenRows, way: str, fused: bool
) -> None:
    expected = reference(adapted(base(), "sdpa"), rows)
    loss, gradient = compare(packed(adapted(base()), ways(rows)[way], fused=fused), expected)
    assert loss <= LOSS
    assert gradient <= GRADIENT


def test_recomputed_activations_change_nothing(base: Any, rows: TokenRows) -> None:
    model = adapted(base()).train()
    plain = packed(model, [collate(rows, ALL)])
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert compare(packed(model, [collate(rows, ALL)]), plain) == (0.0, 0.0)


def test_control_an_all_ones_mask_over_packed_rows_is_found_wrong(base: Any, rows: TokenRows) -> None:
    expected = reference(adapted(base(), "sdpa"), rows)
    model, pack = adapted(base(), "sdpa"), collate(rows, ALL)
    mask = torch.ones_like(pack.input_ids)
    logits = model(input_ids=pack.input_ids, position_ids=pack.position_ids, attention_mask=mask).logits[
        0, pack.label_positions
    ]
    F.cross_entropy(logits, pack.labels).backward()
    loss, gradient = compare((F.cross_entropy(logits, pack.labels).item(), gradients(model)), expected)
    assert loss > 1e-4
    assert gradient > 1e-4


def test_control_packed_rows_by_transformers_with_its_default_cache_are_found_wrong(base: Any, rows: TokenRows) -> None:
    expected, _ = reference(adapted(base(), "sdpa"), rows)
    model, pack = adapted(base(), "sdpa"), collate(rows, ALL)
    logits = model(input_ids=pack.input_ids, position_ids=pack.position_ids).logits[0, pack.label_positions]
    assert abs(F.cross_entropy(logits, pack.labels).item() - expected) / expected > 1e-4


def test_sliding_windows_are_kept_within_documents(rows: TokenRows) -> None:
    windowed = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0}
    expected = reference(adapted(tiny_models.qwen2(**windowed), "sdpa"), rows)
    loss, gradient = compare(packed(adapted(tiny_models.qwen2(**windowed)), [collate(rows, ALL)]), expected)
    assert loss <= LOSS
    assert gradient <= GRADIENT
    unlimited, _ = reference(adapted(tiny_models.qwen2(), "sdpa"), rows)
    assert abs(unlimited - expected[0]) > 1e-4


def test_bounded_scores_are_those_of_transformers() -> None:
    module = torch.nn.Module()
    module.training = False
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 20, 16) for heads in (4, 2, 2))
    ours, _ = attention.attend(
        module, query, key, value, None, scaling=0.25, softcap=5.0, cu_seq_lens_q=torch.tensor([0, 20])
    )
    scores = torch.tanh(query @ key.repeat_interleave(2, 1).transpose(-1, -2) * 0.25 / 5) * 5
    scores = scores + torch.full((20, 20), float("-inf")).triu(1)
    expected = scores.softmax(-1) @ value.repeat_interleave(2, 1)
    assert torch.allclose(ours, expected.transpose(1, 2), atol=1e-6)


def test_a_batch_without_boundaries_is_one_document_a_row(base: Any) -> None:
    ids = torch.randint(2, VOCABULARY, (3, 17))
    with torch.no_grad():
        ours = adapted(base())(input_ids=ids, use_cache=False).logits
        theirs = adapted(base(), "sdpa")(input_ids=ids, use_cache=False).logits
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_fused_loss_is_full_cross_entropy_whatever_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(301, 32, requires_grad=True), torch.randn(97, 32)
    labels = torch.randint(0, 97, (301,))
    full = F.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    (expected,) = torch.autograd.grad(full, hidden)
    for most in (1, 97 * 10, 97 * 1000):
        monkeypatch.setattr("loraform_trainer.train.layers.loss.LOGITS_ON_CPU", most)
        ours = linear_cross_entropy(hidden, weight, labels) * 3
        (gradient,) = torch.autograd.grad(ours, hidden)
        assert abs(ours.item() / 3 - full.item()) / full.item() <= LOSS
        assert float((gradient / 3 - expected).abs().max() / expected.abs().max()) <= GRADIENT


def test_extreme_logits_neither_overflow_nor_vanish() -> None:
    hidden = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    weight = torch.eye(2)
    loss = linear_cross_entropy(hidden, weight, torch.tensor([1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(200.0)
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[1.0, -1.0], [0.0, 0.0]]


def test_pieces_of_logits_are_a_small_part_of_all() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert rows_per_chunk(4096, 32_000, cpu) * 32_000 <= 2**21
    assert rows_per_chunk(2000, 152_000, gpu) * 8 <= 2000 + 8
    assert rows_per_chunk(1, 10**9, cpu) == 1


def test_a_model_that_scales_or_bounds_its_logits_computes_them_itself(base: Any, rows: TokenRows) -> None:
    documents = [rows.ids(0)[1].tolist(), rows.ids(1)[1].tolist()]
    assert PackLoss.choose(adapted(base()).get_base_model(), documents).fused
    scaled = adapted(base())
    scaled.get_base_model().lm_head.register_forward_hook(lambda module, inputs, logits: logits / 8)
    assert not PackLoss.choose(scaled.get_base_model(), documents).fused
    bounded = adapted(base())  # as Gemma 2's: too little to be seen where logits are small
    bounded.get_base_model().config.final_logit_softcapping = 30.0
    assert not PackLoss.choose(bounded.get_base_model(), documents).fused


def test_an_adapted_head_is_not_fused(rows: TokenRows) -> None:
    model = tiny_models.llama()
    model.lm_head.weight.requires_grad_(True)
    assert not PackLoss.choose(adapted_head(model), [rows.ids(0)[1].tolist()]).fused


def adapted_head(model: Any) -> Any:
    attention.register()
    model.set_attn_implementation(attention.NAME)
    return model


def test_a_model_that_does_not_hand_boundaries_down_is_refused(base: Any, rows: TokenRows) -> None:
    loss = PackLoss(adapted(base()).get_base_model(), fused=True)
    documents = [rows.ids(0)[1].tolist(), rows.ids(1)[1].tolist()]
    attention.check_packing(loss.hidden, documents, torch.device("cpu"))
    forgetful = PackLoss(adapted(base(), "eager").get_base_model(), fused=True)
    forgetful.model.config.use_cache = True

    def blind(pack: Pack) -> torch.Tensor:
        states: torch.Tensor = forgetful.model.get_decoder()(input_ids=pack.input_ids).last_hidden_state
        return states

    with pytest.raises(BaseModelInvalidError, match="in this architecture packed rows attend to each other"):
        attention.check_packing(blind, documents, torch.device("cpu"))


def test_a_layer_that_packs_do_not_allow_is_named() -> None:
    config = tiny_models.llama().config
    config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(BaseModelInvalidError, match=r"layer 1 of this llama model is 'linear_attention'"):
        attention.check_layer_types(config)


def test_the_loss_sees_responses_and_their_ends_only() -> None:
    rows = rows_of([([5, 6, 7], [8, 9, END]), ([11], [12, END])])
    pack = collate(rows, [0, 1])
    assert pack.input_ids.tolist() == [[5, 6, 7, 8, 9, END, 11, 12, END]]
    assert pack.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2]]
    assert pack.boundaries.tolist() == [0, 6, 9]
    assert pack.label_positions.tolist() == [2, 3, 4, 6, 7]
    assert pack.labels.tolist() == [8, 9, END, 12, END]
    assert pack.tokens - len(pack.labels) == rows.prompt_lengths.sum()


def test_the_end_of_text_is_learnt(base: Any) -> None:
    row = rows_of([([5, 6, 7], [8, 9, END])])
    _, before = packed(adapted(base()), [collate(row, [0])])
    _, other_end = packed(adapted(base()), [collate(rows_of([([5, 6, 7], [8, 9, 2])]), [0])])
    assert apart(before, other_end) > 1e-3


def test_the_adapter_read_back_says_the_same(base: Any, rows: TokenRows, tmp_path: Any) -> None:
    model = adapted(base()).eval()
    model.save_pretrained(tmp_path)
    plain = base()
    plain.set_attn_implementation(attention.NAME)
    again = PeftModel.from_pretrained(plain, tmp_path).eval()
    ids = torch.tensor([rows[0].prompt_ids])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, again(input_ids=ids).logits)
    assert load_file(tmp_path / "adapter_model.safetensors")


def test_parity_is_what_transformers_alone_computes(base: Any, rows: TokenRows) -> None:
    measured = parity.measure(adapted(base()), rows[:3], "0" * 64, "float32")
    plain = adapted(base(), "sdpa").eval()
    for row, found in zip(rows[:3], measured.rows, strict=True):
        for logprobs, adapter in (
            (found.adapter_logprobs, nullcontext()),
            (found.base_logprobs, plain.disable_adapter()),
        ):
            with torch.no_grad(), adapter:
                logits = plain(input_ids=torch.tensor([[*row.prompt_ids, *row.response_ids]]), use_cache=False).logits
            answers = logits[0, len(row.prompt_ids) - 1 : -1], torch.tensor(row.response_ids)
            assert np.allclose(logprobs, -F.cross_entropy(*answers, reduction="none").numpy(), atol=2e-6)
