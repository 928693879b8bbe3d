"""Builds the data set of a run from the files of its sources and suites.

A module of its own because its libraries take long to import, and a run whose rows are cached does not need them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from loraform_api.dataset import PolicyTeaching
from loraform_engine.prompting import Prompter
from loraform_trainer.prepare.dataset.build import BuildRequest, PreparedDataset, RowFiles, build_dataset
from loraform_trainer.prepare.dataset.decontaminate import SuiteIndex
from loraform_trainer.prepare.dataset.filter_rows import ReportProgress
from loraform_trainer.prepare.dataset.source_rows import SourceRow, read_source_rows
from loraform_trainer.prepare.dataset.suites import SuiteRow, held_out, suite_rows
from loraform_trainer.prepare.dataset.validity import ValidityCheck
from loraform_trainer.prepare.sources import FetchedFiles
from loraform_trainer.runtime.context import Context

ESTIMATED_ROWS = 20_000
"""Rows at which the progress of the checks shows one half: how many rows there are is known only at the end."""


def build_from_sources(
    context: Context, files: FetchedFiles, vocabulary: Prompter, max_tokens: int, validity: ValidityCheck | None
) -> tuple[PreparedDataset, list[SuiteRow]]:
    """Write the training and validation rows into the workspace; return the data set and the rows of the suites.

    Rows of more than `max_tokens` tokens are dropped. Raises DatasetInvalidError for unusable files.
    """
    config, paths = context.config, context.paths
    request = BuildRequest(
        config.spec.dataset, config.policy, config.spec.training.seed, max_tokens, vocabulary, validity
    )
    suite = suite_rows(files.suites)
    policy_in_responses = request.policy if request.spec.checks.policy is PolicyTeaching.REWRITE else None
    index = SuiteIndex([held_out(row.line, policy_in_responses) for row in suite])
    targets = RowFiles(paths.train_rows, paths.validation_rows, paths.selection_rows)
    work = paths.workspace / "prepare"
    shutil.rmtree(work, ignore_errors=True)
    try:
        dataset = build_dataset(request, _source_rows(files), index, work, _progress_reporter(context), targets)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return dataset, suite


def _source_rows(files: FetchedFiles) -> Iterator[SourceRow]:
    for source, path in files.sources:
        yield from read_source_rows(path, source.name, source.format, source.columns, source.file_format)


def _progress_reporter(context: Context) -> ReportProgress:
    def report_progress(rows_read: int) -> None:
        context.progress.update(0.3 + 0.6 * rows_read / (rows_read + ESTIMATED_ROWS), metrics={"rows": rows_read})

    return report_progress
