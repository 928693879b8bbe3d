"""The compared trainers: ours, TRL's SFTTrainer and transformers' Trainer, on the same model and rows.

`Contestant.run(steps)` trains `steps` optimiser steps through the trainer's own loop (loader, collator, loss, clipping,
optimiser, callbacks) and returns the number of tokens without padding and the CPU seconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

from loraform_trainer.runtime.group import ALONE
from loraform_trainer.train.layers import attention
from loraform_trainer.train.layers.blocks import fuse_block_layers
from loraform_trainer.train.layers.lora import fuse_lora_layers
from loraform_trainer.train.layers.loss import PackLoss
from loraform_trainer.train.packing import pack_rows
from loraform_trainer.train.steps import Steps, TrainingPlan
from loraform_trainer.train.token_rows import TokenRows
from loraform_trainer.train.trainer import LoRATrainer

CAPACITY = 2048
IGNORED = -100
PAD, END = 0, 1
SEED = 42
COMMON = {
    "per_device_train_batch_size": 1, "learning_rate": 2e-4, "optim": "adamw_torch_fused", "max_grad_norm": 1.0,
    "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True, "logging_steps": 1000,
    "logging_nan_inf_filter": False, "dataloader_pin_memory": False, "bf16": False, "gradient_checkpointing": False,
    "train_sampling_strategy": "sequential",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Vocabulary and layers of a model, which give its head's share of the weights, and the prompts' share of rows."""

    name: str
    vocabulary: int
    layers: int
    prompt_percent: int

    def model(self, implementation: str) -> Any:
        """Return the model with an adapter of rank 8 on all linear layers; deterministic."""
        attention.register()
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=self.vocabulary, hidden_size=256, intermediate_size=768, num_hidden_layers=self.layers,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=4096, pad_token_id=PAD,
            eos_token_id=END, bos_token_id=None, use_cache=False,
        )  # fmt: skip
        base = LlamaForCausalLM(config)
        base.set_attn_implementation(implementation)
        shape = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
        return get_peft_model(base, shape)

    @property
    def head_share(self) -> float:
        head = 256 * self.vocabulary
        return head / (head + self.layers * (4 * 256 * 256 + 3 * 256 * 768))


def iac_lengths(count: int, most: int = CAPACITY) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return row lengths in tokens as in IaC data: median 330, with a long tail."""
    drawn = np.random.default_rng(7).lognormal(np.log(330), 0.75, count)
    return np.clip(drawn, 40, most).astype(np.int64)


def random_rows(shape: Shape, count: int) -> TokenRows:
    """Return rows of random tokens with the lengths of IaC data; `prompt_percent` of each row is its prompt."""
    chance = np.random.default_rng(3)
    prompts, responses = [], []
    for length in iac_lengths(count).tolist():
        ids = chance.integers(2, shape.vocabulary, length).astype(np.int32)
        ids[-1] = END
        cut = max(1, length * shape.prompt_percent // 100)
        prompts.append(ids[:cut])
        responses.append(ids[cut:])
    lists = pa.list_(pa.int32())
    ids_column = pa.array([str(i) for i in range(count)])
    columns = {"id": ids_column, "prompt_ids": pa.array(prompts, lists), "response_ids": pa.array(responses, lists)}
    return TokenRows(pa.table(columns))


class Contestant:
    """A trainer with its model; `batches` are the row numbers of each step."""

    name: str
    trainer: Any
    rows: TokenRows
    batches: list[list[int]]

    def run(self, steps: int) -> tuple[int, float]:
        """Train the first `steps` steps again; return the tokens without padding and the CPU seconds."""
        self.trainer.args.max_steps = steps
        began = time.process_time()
        self.trainer.train()
        seconds = time.process_time() - began
        return sum(int(self.rows.lengths[batch].sum()) for batch in self.batches[:steps]), seconds


class Ours(Contestant):
    name = "ours"

    def __init__(self, shape: Shape, rows: TokenRows, folder: Path, *, recompute: bool = False) -> None:
        self.rows, self.batches = rows, packs(rows)
        model = shape.model(attention.NAME)
        fuse_lora_layers(model)
        fuse_block_layers(model.get_base_model())
        if recompute:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        loss = PackLoss.choose(model.get_base_model(), [rows[0].response_ids[:50], rows[1].response_ids[:60]])
        plan = TrainingPlan(pack_rows(rows.lengths, CAPACITY), packs_per_step=1, epochs=1, seed=SEED)
        arguments = TrainingArguments(output_dir=str(folder), **COMMON)
        self.trainer = LoRATrainer(model, arguments, loss, Steps(rows, plan, ALONE))


def packs(rows: TokenRows) -> list[list[int]]:
    return [pack.tolist() for pack in pack_rows(rows.lengths, CAPACITY).draw(rows.lengths, SEED, 0)]


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    vocabulary_ids = {f"t{i}": i for i in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary_ids, unk_token="t2"))  # noqa: S106 (a token of text)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="t0", eos_token="t1")  # noqa: S106 (tokens of text)


def _trl(shape: Shape, data: Dataset, folder: Path, **settings: Any) -> SFTTrainer:
    arguments = SFTConfig(
        output_dir=str(folder), max_length=CAPACITY, dataset_kwargs={"skip_prepare_dataset": True},
        **(COMMON | settings),
    )  # fmt: skip
    return SFTTrainer(
        model=shape.model("sdpa"), args=arguments, train_dataset=data, processing_class=_tokenizer(shape.vocabulary)
    )


def _labelled(rows: TokenRows, numbers: Sequence[int]) -> dict[str, list[int]]:
    ids, labels = [], []
    for number in numbers:
        row = rows[number]
        ids += [*row.prompt_ids, *row.response_ids]
        labels += [*[IGNORED] * len(row.prompt_ids), *row.response_ids]
    return {"input_ids": ids, "labels": labels}


class TrlPacked(Contestant):
    """TRL with `packing=True` and our packs, in its own column format."""

    name = "TRL packed"

    def __init__(self, shape: Shape, rows: TokenRows, folder: Path) -> None:
        self.rows, self.batches = rows, packs(rows)
        examples = [_labelled(rows, p) | {"seq_lengths": rows.lengths[p].tolist()} for p in self.batches]
        self.trainer = _trl(shape, Dataset.from_list(examples), folder, packing=True)


class TrlPadded(Contestant):
    """TRL with its defaults: padded batches and recomputed activations."""

    name = "TRL padded, its defaults"

    def __init__(self, shape: Shape, rows: TokenRows, folder: Path) -> None:
        self.rows, (size, self.batches) = rows, _padded_batches(rows)
        examples = Dataset.from_list([_labelled(rows, [i]) for i in range(len(rows))])
        settings = {"per_device_train_batch_size": size, "gradient_checkpointing": True}
        self.trainer = _trl(shape, examples, folder, **settings)


class TransformersPadded(Contestant):
    """transformers' Trainer on padded batches."""

    name = "transformers padded"

    def __init__(self, shape: Shape, rows: TokenRows, folder: Path) -> None:
        self.rows, (size, self.batches) = rows, _padded_batches(rows)
        arguments = TrainingArguments(output_dir=str(folder), **(COMMON | {"per_device_train_batch_size": size}))
        self.trainer = Trainer(
            model=shape.model("sdpa"),
            args=arguments,
            train_dataset=Dataset.from_list([_labelled(rows, [i]) for i in range(len(rows))]),
            data_collator=_pad_right,
        )


def _padded_batches(rows: TokenRows) -> tuple[int, list[list[int]]]:
    """Return as many rows a batch as a pack has on average; rows come as they are, which is random."""
    size = max(1, round(len(rows) / len(packs(rows))))
    return size, [list(range(i, min(i + size, len(rows)))) for i in range(0, len(rows), size)]


def _pad_right(examples: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    width = max(len(example["input_ids"]) for example in examples)

    def padded(values: list[int], fill: int) -> list[int]:
        return values + [fill] * (width - len(values))

    return {
        "input_ids": torch.tensor([padded(e["input_ids"], PAD) for e in examples]),
        "labels": torch.tensor([padded(e["labels"], IGNORED) for e in examples]),
        "attention_mask": torch.tensor([padded([1] * len(e["input_ids"]), 0) for e in examples]),
    }
