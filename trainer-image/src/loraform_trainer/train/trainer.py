"""transformers' Trainer, stricter and lighter: whole steps of packs, checks before each step, sealed checkpoints.

Schedules, callbacks, history and resuming are transformers'. A "batch" of its loader is a whole optimiser step of
packs, so that gradients are weighted by the label tokens of the step, on all processes; and its single "epoch" is the
whole run. Nothing waits for the device but the one look at loss and gradient norm before the optimiser's step.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import KubeflowCallback
from typing_extensions import override

from loraform_trainer.runtime.errors import NonFiniteLossError
from loraform_trainer.runtime.group import ALONE, TrainingGroup
from loraform_trainer.train import checkpoints
from loraform_trainer.train.collate import Pack
from loraform_trainer.train.estimate.flops import Work
from loraform_trainer.train.layers.loss import PackLoss
from loraform_trainer.train.steps import Step, Steps
from loraform_trainer.train.stops import LossWatch


class LoRATrainer(Trainer):
    """Trains the adapter of a PEFT model on packed rows."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        loss: PackLoss,
        steps: Steps,
        validation: Sequence[Pack] = (),
        callbacks: Sequence[TrainerCallback] = (),
        group: TrainingGroup = ALONE,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=steps,
            eval_dataset=list(validation) or None,  # only looked at for being there
            callbacks=[*callbacks, LogWithCheckpoints()],
        )
        self.steps = steps
        self._loss, self._validation, self._group = loss, validation, group
        self._work = Work.of(model)
        self._watch = LossWatch()
        self._trainable = [p for p in model.parameters() if p.requires_grad]
        self._step_loss = torch.zeros((), device=args.device)
        self.seconds = 0.0
        """Seconds that this process spent on its steps, loading included; saving and validating are not."""
        self.tokens = 0
        """Tokens, of all processes, of the steps that this process took part in."""
        self.flops = 0
        """What those steps had to compute, on all processes."""
        self._began = 0.0
        self._logged = (0.0, 0)
        self.remove_callback(KubeflowCallback)  # added by itself wherever its variables are set; ours reports instead

    @override
    def get_train_dataloader(self) -> DataLoader[Step]:
        """Return the steps in their order; accelerate has no part in it, since a step knows its process."""
        return DataLoader(
            self.steps,
            batch_size=1,
            collate_fn=_only,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    @override
    def get_batch_samples(
        self, epoch_iterator: Iterator[Step], num_batches: int, device: torch.device
    ) -> tuple[list[Step], None]:
        self._began = time.perf_counter()
        return [next(epoch_iterator)], None

    @override
    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        if not model.training:
            model.train()
        step: Step = inputs
        total = torch.zeros((), device=self.args.device)
        for pack in step.packs:
            with self._precision():
                loss = self._loss(pack.to(self.args.device)) / step.labels
            loss.backward()  # type: ignore[no-untyped-call] # torch's
            total += loss.detach()
        self._group.sum_gradients(self._trainable)
        self._step_loss = self._group.sum(total)
        return self._step_loss

    @override
    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> float:
        """Look at loss and norm on the way from clipping to the optimizer step: the one wait of a step."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call] # transformers'
        loss, norm = torch.stack((self._step_loss, norm.float())).tolist()
        self._watch.look(self.state.global_step + 1, loss, norm)
        return float(norm)

    @override
    def floating_point_ops(self, inputs: Any) -> int:
        """Return what the step had to compute; transformers sums it up in its state."""
        step: Step = inputs
        return self._work.of_step(step.tokens, step.labels, step.squares)

    @override
    def _track_num_input_tokens(self, inputs: Any) -> None:
        step: Step = inputs
        self.state.num_input_tokens_seen += step.tokens
        self.tokens += step.tokens
        self.flops += self.floating_point_ops(step)

    @override
    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Called at the end of each step, and once more at the end of all."""
        if self._began:
            self.seconds += time.perf_counter() - self._began
            self._began = 0.0
        super()._maybe_log_save_evaluate(*args, **kwargs)

    @override
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            seconds, tokens = self._logged
            self._logged = (self.seconds, self.tokens)
            logs["tokens"] = self.state.num_input_tokens_seen
            if self.seconds > seconds:
                logs["tokens_per_second"] = round((self.tokens - tokens) / (self.seconds - seconds), 1)
        super().log(logs, start_time)

    @override
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = {"eval_loss": self.validation_loss(self._validation)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def validation_loss(self, packs: Sequence[Pack]) -> float:
        """Return the mean loss over the packs' labels, each process computing its share of the packs."""
        self._loss.model.eval()
        total = torch.zeros((), device=self.args.device)
        for pack in packs[self._group.rank :: self._group.size]:
            with self._precision():
                total += self._loss(pack.to(self.args.device))
        self._loss.model.train()
        loss = self._group.sum(total).item() / sum(len(pack.labels) for pack in packs)
        if loss != loss or loss in (float("inf"), float("-inf")):  # noqa: PLR0124 (the test for NaN)
            raise NonFiniteLossError(f"the validation loss became {loss} at step {self.state.global_step}")
        return loss

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """Compute the adapter in the base's bfloat16 on a GPU, its weights and sums stay float32."""
        if self.args.device.type == "cuda" and self._loss.model.dtype == torch.bfloat16:
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()

    @override
    def _wrap_model(self, model: Any, training: bool = True, dataloader: Any = None) -> Any:
        """Leave the model alone: processes sum their gradients through the group."""
        return model

    @override
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write the adapter alone (safetensors and its config); the parent adds pickled arguments that nobody reads."""
        model: Any = self.model
        model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict)

    @override
    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        if self._group.is_main:
            folder = Path(str(self.args.output_dir)) / f"{checkpoints.PREFIX}{self.state.global_step}"
            (folder / checkpoints.MANIFEST).unlink(missing_ok=True)
            super()._save_checkpoint(model, trial)
            checkpoints.seal(folder)
        self._group.wait()


class LogWithCheckpoints(TrainerCallback):
    """Logs the mean loss up to each checkpoint: a resumed run has the history of an undisturbed one."""

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if control.should_save:
            control.should_log = True
        return control


def _only(steps: list[Step]) -> Step:
    (step,) = steps
    return step
