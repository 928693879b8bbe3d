"""Rows that no cache holds: from a run's files to what `prepare_rows` makes of them.

Apart from the stage, as arrays, tables and parsers take longer to import than a run needs that finds its rows kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from loraform_api.dataset import PolicyTeaching
from loraform_trainer.prepare.dataset.build import Job, Outcome, Targets, prepare_rows
from loraform_trainer.prepare.dataset.decontaminate import SuiteIndex
from loraform_trainer.prepare.dataset.pipeline import Found, Told
from loraform_trainer.prepare.dataset.source_rows import found
from loraform_trainer.prepare.dataset.suites import SuiteRow, held_out, suite_rows
from loraform_trainer.prepare.dataset.validity import Validity
from loraform_trainer.prepare.sources import Fetched
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.tokens import BaseTokens

ESTIMATED_ROWS = 20_000
"""Rows after which half of the time for checks is thought to be over; how many there are is known at the end."""


def rows(
    context: Context, fetched: Fetched, vocabulary: BaseTokens, longest: int, validity: Validity | None
) -> tuple[Outcome, list[SuiteRow]]:
    """Write the training and validation rows, of at most `longest` tokens; return what came of them, and the suite."""
    config, paths = context.config, context.paths
    job = Job(config.spec.dataset, config.policy, config.spec.training.seed, longest, vocabulary, validity)
    suite = suite_rows(fetched.suites)
    taught = job.policy if job.spec.checks.policy is PolicyTeaching.REWRITE else None
    index = SuiteIndex([held_out(row.line, taught) for row in suite])
    targets = Targets(paths.train_rows, paths.validation_rows, paths.selection_rows)
    work = paths.workspace / "prepare"
    shutil.rmtree(work, ignore_errors=True)
    try:
        return prepare_rows(job, _found(fetched), index, work, _teller(context), targets), suite
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _found(fetched: Fetched) -> Iterator[Found]:
    for source, path in fetched.sources:
        yield from found(path, source.name, source.format, source.columns, source.file_format)


def _teller(context: Context) -> Told:
    def tell(read: int) -> None:
        context.progress.update(0.3 + 0.6 * read / (read + ESTIMATED_ROWS), metrics={"rows": read})

    return tell
