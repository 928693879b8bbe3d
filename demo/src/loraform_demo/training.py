"""The training loop of the base model: resumable, plain torch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from loraform_demo.batches import IGNORED, Batch, Encoder, row_batches
from loraform_demo.copying_start import write_copying
from loraform_demo.muon import Muon
from loraform_demo.tokenizer import CONTEXT

ROTARY_BASE = 1e6


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights besides torch itself."""

    steps: int = 4000
    batch: int = 32
    matrices_rate: float = 0.01
    others_rate: float = 2e-3
    warmup: int = 50
    seed: int = 1


def new_model(vocabulary: int, encoder: Encoder) -> LlamaForCausalLM:
    """Return a fresh Llama of two million parameters; heads of 32 are what the CPU engine serves."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=encoder.eos,
        pad_token_id=encoder.pad,
        rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
        dtype="float32",
    )
    model = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    write_copying(model, ROTARY_BASE)
    return model


def schedule(step: int, recipe: Recipe) -> float:
    """Return the share of the full learning rate at `step`: linear warm-up, then cosine down to a fiftieth."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Return Muon for the layers' matrices and AdamW for embeddings and norms; each group knows its full rate."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    both: list[torch.optim.Optimizer] = [
        Muon(matrices),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    for optimizer, full in zip(both, (recipe.matrices_rate, recipe.others_rate), strict=True):
        for group in optimizer.param_groups:
            group["full"] = full
    return both


def loss_of(model: LlamaForCausalLM, batch: Batch) -> tuple[torch.Tensor, float]:
    """Return the mean loss of the learnt tokens and the share of them predicted rightly; other logits are not made."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state[:, :-1]
    targets = batch.labels[:, 1:]
    learnt = targets != IGNORED
    logits = model.lm_head(hidden[learnt])
    right = (logits.detach().argmax(-1) == targets[learnt]).float().mean().item()
    return functional.cross_entropy(logits, targets[learnt]), right


class Training:
    """A model on its way; `checkpoint` holds all that a killed run needs to go on."""

    def __init__(self, recipe: Recipe, encoder: Encoder, checkpoint: Path) -> None:
        self.recipe, self.checkpoint, self.encoder = recipe, checkpoint, encoder
        torch.manual_seed(recipe.seed)
        self.vocabulary = encoder.tokenizer.get_vocab_size()
        self.model = new_model(self.vocabulary, encoder)
        self.optimizers = optimizers(self.model, recipe)
        self.step = 0
        if checkpoint.exists():
            self._load()

    def run(self, save_every: int = 100, log_every: int = 10) -> LlamaForCausalLM:
        """Train to the recipe's last step and return the model; prints loss and accuracy of the answers' tokens."""
        # a resumed run draws other rows than the killed one did: the corpus has no end, so nothing is seen twice
        rows = row_batches(self.encoder, self.recipe.batch, self.recipe.seed + self.step)
        began, first = time.monotonic(), self.step
        self.model.train()
        while self.step < self.recipe.steps:
            loss, right = self._advance(rows)
            if self.step % log_every == 0:
                speed = (time.monotonic() - began) / (self.step - first)
                print(f"step {self.step} loss {loss:.4f} right {right:.4f} {speed:.2f} s/step", flush=True)
            if self.step % save_every == 0:
                self._save()
        self._save()
        return self.model

    def _advance(self, batches: Iterator[Batch]) -> tuple[float, float]:
        loss, right = loss_of(self.model, next(batches))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full"] * schedule(self.step, self.recipe)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item(), right

    def _save(self) -> None:
        state = {"step": self.step, "recipe": asdict(self.recipe), "model": self.model.state_dict()}
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state | {"optimizers": [o.state_dict() for o in self.optimizers]}, partial)
        partial.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, its_state in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(its_state)
        self.step = state["step"]
        print(f"resumed at step {self.step}", flush=True)
