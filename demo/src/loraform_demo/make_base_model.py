"""Makes the demo's base model from nothing: corpus, tokenizer, training, files; half an hour on two idle cores."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaForCausalLM

from loraform_demo.batches import Encoder
from loraform_demo.corpus import base_rows
from loraform_demo.tokenizer import save_tokenizer, train_tokenizer
from loraform_demo.training import Recipe, Training
from loraform_engine.prompt import render

TOKENIZER_ROWS = 6000


def make_encoder(seed: int, kept: Path) -> Encoder:
    """Return the tokenizer that an earlier, killed run kept in the file `kept`, or train one and keep it there."""
    if kept.exists():
        return Encoder(Tokenizer.from_file(str(kept)))
    rows = islice(base_rows(seed), TOKENIZER_ROWS)
    tokenizer = train_tokenizer(["".join([*render(row.instruction, row.input), row.response, "\n"]) for row in rows])
    tokenizer.save(str(kept))
    return Encoder(tokenizer)


def save(model: LlamaForCausalLM, encoder: Encoder, folder: Path) -> None:
    """Write the model as transformers and vLLM read it; its generation settings are greedy and name the end token."""
    settings = {"do_sample": False, "eos_token_id": encoder.eos, "pad_token_id": encoder.pad}
    model.generation_config = GenerationConfig(**settings)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it private
    save_tokenizer(encoder.tokenizer, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the model; made if it is not there")
    parser.add_argument("--work", type=Path, help="folder of the checkpoint from which a killed run goes on")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    work = args.work or args.output.with_name(args.output.name + ".work")
    for folder in (args.output, work):
        folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(steps=args.steps)
    encoder = make_encoder(recipe.seed, work / "tokenizer.json")
    save(Training(recipe, encoder, work / "checkpoint.pt").run(), encoder, args.output)


if __name__ == "__main__":
    main()
