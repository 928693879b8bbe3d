"""The page's sections about training: loss, choice of the checkpoint, and forgetting. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from loraform_api.evaluation import LossPoint
from loraform_api.finetunejob_status import Forgetting
from loraform_api.run import CheckpointScore
from loraform_trainer.evaluate.checkpoint_choice import best, losses
from loraform_trainer.evaluate.html import charts
from loraform_trainer.evaluate.html.markup import number_of, tag
from loraform_trainer.evaluate.html.parts import Section, counted, head, section, side


def chosen(scores: Sequence[CheckpointScore], log: Sequence[LossPoint]) -> Section:
    """Return the section of the compared checkpoints."""
    loss = losses(log)
    step = best(scores, loss)
    rows = [
        tag(
            "tr",
            side(f"Step {score.step}{' (chosen)' if score.step == step else ''}"),
            counted(score.passed, score.rows),
            tag("td", f"{loss[score.step]:.4g}" if score.step in loss else "not measured"),
        )
        for score in scores
    ]
    heads = ("Checkpoint", "Selection rows passed", "Validation loss")
    table = tag(
        "table",
        tag("caption", "The last checkpoints on the selection rows (raw answers)"),
        tag("thead", tag("tr", *map(head, heads))),
        tag("tbody", *rows),
    )
    return section(
        "selection",
        "Choice of the checkpoint",
        table,
        tag("p", "Selection rows are validation rows of the training data. Their stages are Parse, Validate and, with "
            "a house policy, Policy. Only the chosen checkpoint was evaluated on the suites."),
    )  # fmt: skip


def loss(log: Sequence[LossPoint]) -> Section:
    """Return the section of the training loss and, if there is one, the validation loss."""
    points = [(point.step, point.loss) for point in log if point.loss is not None]
    validation = [(point.step, point.eval_loss) for point in log if point.eval_loss is not None]
    final_validation = f" The final validation loss is {validation[-1][1]:.4g}." if validation else ""
    lines = {"training loss": points} | ({"validation loss": validation} if len(validation) > 1 else {})
    text = f"The last training loss is {points[-1][1]:.4g}, at step {points[-1][0]}.{final_validation}"
    return section("loss", "Training loss", charts.curves(lines), tag("p", text))


def forgetting(measured: Forgetting) -> Section:
    """Return the section about general answers, which are not Terraform."""
    return section(
        "forgetting",
        "Forgetting of general answers",
        tag("p", f"On average, the adapter changes the log-probability per token of "
            f"{number_of(measured.prompts, 'short general answer')} by {measured.mean_difference} nats (95 % interval "
            f"{measured.low} to {measured.high}). A negative value means that they became less likely. This figure "
            "does not affect the decision."),
    )  # fmt: skip
