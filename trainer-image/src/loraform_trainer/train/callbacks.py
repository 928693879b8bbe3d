"""What happens between the steps of a run: reporting, and ending it before its time."""

from __future__ import annotations

import threading
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from loraform_trainer.runtime.group import ALONE, TrainingGroup
from loraform_trainer.runtime.progress import Countdown, Progress
from loraform_trainer.train.stops import exhausted


class StopWhenAsked(TrainerCallback):
    """Ends training after the running step, with a checkpoint, once `stop` is set on any process."""

    def __init__(self, stop: threading.Event, group: TrainingGroup = ALONE) -> None:
        self._stop = stop
        self._group = group

    @override
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self._group.any(self._stop.is_set()):
            control.should_save = True
            control.should_training_stop = True
        return control


class StopEarly(TrainerCallback):
    """Ends training once the validation loss has not fallen for `patience` evaluations."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    @override
    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if exhausted(state.log_history, self._patience):
            control.should_save = True
            control.should_training_stop = True
        return control


class ReportProgress(TrainerCallback):
    """Tells the operator how training goes."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._epochs = epochs
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
        for name in ("loss", "learning_rate", "eval_loss", "tokens_per_second"):
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
            metrics={**self._logged, **counts, "epoch": round(self._epochs * step / total, 2)},
        )
