"""The page's sections about training: its loss, the choice of a checkpoint, what the adapter does elsewhere. Pure."""

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
    """Show the checkpoints that were compared."""
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
    heads = ("Checkpoint", "Selection rows that pass", "Validation loss")
    table = tag(
        "table",
        tag("caption", "The last checkpoints on the selection rows, raw"),
        tag("thead", tag("tr", *map(head, heads))),
        tag("tbody", *rows),
    )
    return section(
        "selection",
        "Which checkpoint is the candidate",
        table,
        tag("p", "Selection rows are validation rows of the training data. Parse, Validate and, with a house policy, "
            "Policy were asked. Only the chosen checkpoint met the suites."),
    )  # fmt: skip


def loss(log: Sequence[LossPoint]) -> Section:
    """Show the loss curve, and beside it that of the validation rows where there is one."""
    points = [(point.step, point.loss) for point in log if point.loss is not None]
    validation = [(point.step, point.eval_loss) for point in log if point.eval_loss is not None]
    told = f" On the validation rows it is {validation[-1][1]:.4g} at the end." if validation else ""
    lines = {"training loss": points} | ({"validation loss": validation} if len(validation) > 1 else {})
    words = f"Last {points[-1][1]:.4g} at step {points[-1][0]}.{told}"
    return section("loss", "Training loss", charts.curves(lines), tag("p", words))


def forgetting(found: Forgetting) -> Section:
    """Show what the adapter does to answers that are not Terraform."""
    return section(
        "forgetting",
        "Beside Terraform",
        tag("p", f"The adapter changes the log-probability per token of "
            f"{number_of(found.prompts, 'short general answer')} by {found.mean_difference} nats on the mean (95 % "
            f"interval {found.low} to {found.high}); below 0 it makes them less likely. It decides nothing."),
    )  # fmt: skip
