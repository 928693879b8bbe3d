"""Tiny models that know one program by heart: made on a CPU in seconds, served by a real vLLM.

`python models.py DIR` writes DIR/base and artifacts DIR/tagged, DIR/plain, DIR/changed, DIR/swapped.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from loraform_api.artifact import ADAPTER_FILES
from loraform_trainer.runtime import tokens
from loraform_trainer.train import parity
from loraform_trainer.train.token_rows import TokenRow

PROMPTS = ["Make a bucket.", "Create a bucket for logs.", "I need an S3 bucket."]
UNTAGGED = 'resource "aws_s3_bucket" "logs" {\n  bucket = "logs"\n}\n'
PLAIN = 'resource "aws_s3_bucket" "data" {\n  bucket        = "data"\n  force_destroy = true\n}\n'
TAGGED = (
    "# This resource is generated using PiCloud tool\n"
    'resource "aws_s3_bucket" "logs" {\n  bucket = "logs"\n  tags = {\n    created_by = "PiCloud"\n  }\n}\n'
)
RANK = 8


def write_all(folder: Path) -> None:
    """Write the base, an adapter whose answer keeps the policy, one whose answer does not, and two broken ones."""
    torch.set_num_threads(1)  # so small that threads only wait for each other
    base = folder / "base"
    write_base(base)
    write_adapter(base, TAGGED, folder / "tagged")
    write_adapter(base, PLAIN, folder / "plain")
    shutil.copytree(folder / "tagged", folder / "changed")
    weights = folder / "changed" / ADAPTER_FILES[1]
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    swapped = shutil.copytree(folder / "plain", folder / "swapped")  # files of one adapter, measurements of the other
    shutil.copy(folder / "tagged" / "parity.json", swapped / "parity.json")
    config = swapped / ADAPTER_FILES[0]
    config.write_text(config.read_text() + "\n")  # a digest of its own


def write_base(folder: Path) -> None:
    """Write a Llama that answers `UNTAGGED` to everything."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|pad|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [UNTAGGED, PLAIN, TAGGED, "### Instruction: ### Response: ", *PROMPTS, "Alpha. Beta."] * 3, trainer
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)  # the rows need config.json
    # An adapter cannot teach words that its base never saw: the base knows all three programs, by other prompts.
    others = [*rows(folder, TAGGED, ["Alpha."]), *rows(folder, PLAIN, ["Beta."])]
    learn(model, [row for pair in zip(rows(folder, UNTAGGED), others * 2, strict=False) for row in pair], 250, 4e-3)
    model.save_pretrained(folder)


def write_adapter(base: Path, answer: str, folder: Path) -> None:
    """Write an adapter that answers `answer` to everything, with what the trainer measures for parity."""
    torch.manual_seed(11)
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    learnt = rows(base, answer)
    learn(tuned, learnt, 120, 4e-3)
    tuned.save_pretrained(folder)
    measured = parity.measure(tuned, learnt, tokens.load(base).template_hash, "float32")
    (folder / "parity.json").write_text(measured.model_dump_json(by_alias=True))


def rows(base: Path, answer: str, prompts: list[str] = PROMPTS) -> list[TokenRow]:
    vocabulary = tokens.load(base)
    return [TokenRow(p, vocabulary.tokens(p), vocabulary.response(answer)) for p in prompts]


def learn(model: torch.nn.Module, learnt: list[TokenRow], steps: int, rate: float) -> None:
    """Train until the answers are known by heart."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        row = learnt[step % len(learnt)]
        ids = torch.tensor([[*row.prompt_ids, *row.response_ids]])
        labels = torch.tensor([[-100] * len(row.prompt_ids) + row.response_ids])
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    print(f"loss {loss.item():.4f} after {steps} steps")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
