"""transformers' Trainer, stricter: our sampler, checks before each step, sealed checkpoints, stopping when asked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import KubeflowCallback
from typing_extensions import override

from loraform_trainer import checkpoints
from loraform_trainer.data import LengthGrouped, PadRight, Rows, TokenRow
from loraform_trainer.errors import NonFiniteLossError
from loraform_trainer.progress import Countdown, Progress


class LoRATrainer(Trainer):
    """Trains the adapter of a PEFT model on tokenised rows."""

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        train: Sequence[TokenRow],
        validation: Sequence[TokenRow],
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=Rows(train),
            eval_dataset=Rows(validation) if validation else None,
            data_collator=PadRight(model.config.pad_token_id or 0),
            callbacks=callbacks,
        )
        self._lengths = [len(row) for row in train]
        self.remove_callback(KubeflowCallback)  # added by itself wherever its variables are set; ours reports instead

    @override
    def _get_train_sampler(self, train_dataset: object = None) -> LengthGrouped:
        rows_a_step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGrouped(self._lengths, rows_a_step, self.args.seed)

    @override
    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise NonFiniteLossError(f"the loss became {loss.item()} at step {self.state.global_step + 1}")
        return loss

    @override
    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """Look at the norm on the way from clipping to the optimizer step."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        if norm is not None and not torch.isfinite(torch.as_tensor(norm)):
            raise NonFiniteLossError(f"the gradient norm became {float(norm)} at step {self.state.global_step + 1}")
        return norm

    @override
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write the adapter alone (safetensors and its config); the parent adds pickled arguments that nobody reads."""
        model: Any = self.model
        model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict)

    @override
    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"{checkpoints.PREFIX}{self.state.global_step}"
        (folder / checkpoints.MANIFEST).unlink(missing_ok=True)
        super()._save_checkpoint(model, trial)
        checkpoints.seal(folder)


class StopWhenAsked(TrainerCallback):
    """Ends training after the running step, with a checkpoint, once `stop` is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    @override
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self._stop.is_set():
            control.should_save = True
            control.should_training_stop = True
        return control


class ReportProgress(TrainerCallback):
    """Tells the operator how training goes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._countdown = Countdown(0)
        self._logged: dict[str, object] = {}

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._countdown = Countdown(state.global_step)
        self._report(state)

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("loss", "learning_rate", "eval_loss"):
            if logs and name in logs:
                self._logged[name] = f"{logs[name]:.4g}"

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._report(state)

    def _report(self, state: TrainerState) -> None:
        step, total = state.global_step, max(1, state.max_steps)
        counts = {"step": step, "total_steps": total, "tokens": int(state.num_input_tokens_seen)}
        self._progress.update(
            step / total,
            remaining_seconds=self._countdown.remaining_seconds(step, total),
            metrics={**self._logged, **counts, "epoch": round(state.epoch or 0, 2)},
        )
