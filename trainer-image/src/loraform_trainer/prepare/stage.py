"""Stage `prepare`: writes tokenised rows, suite rows, base model and live adapter into the workspace. Needs no GPU."""

from __future__ import annotations

import logging
import shutil
from functools import partial

from loraform_api.dataset import OnFinding
from loraform_api.names import RunStage
from loraform_api.run import PrepareResult, RunConfig, StageReport
from loraform_api.verification import VerifyRequest, VerifyResponse
from loraform_engine.prompting import Prompter
from loraform_trainer.prepare import sources, staging
from loraform_trainer.prepare.dataset.cache import RowCache, cache_key
from loraform_trainer.prepare.dataset.report import MAX_WARNINGS, DatasetReport, report_lines
from loraform_trainer.prepare.dataset.validity import ValidityCheck
from loraform_trainer.prepare.sources import FetchedFiles
from loraform_trainer.prepare.staging import StagedBaseModel
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import DatasetInvalidError
from loraform_trainer.runtime.files import sha256_file, write_atomic, write_jsonl
from loraform_trainer.runtime.upstream import upstream_errors
from loraform_trainer.train.method import check_lora, check_merge
from loraform_verifier.http import blocking

log = logging.getLogger(__name__)

CACHE_FOLDER = "rows"


def run(context: Context) -> StageReport:
    """Prepare the workspace; raises StageError."""
    config, paths, progress = context.config, context.paths, context.progress
    progress.update(0)
    sources.check_packs(context)
    base = staging.stage_base(context)
    check_lora(config.spec, paths.base)
    check_merge(config.spec, paths.base, paths.workspace)
    vocabulary = tokens.load(paths.base)
    if config.live is not None:
        staging.stage_live(paths.live_mount, config.live, paths.live)
    progress.update(0.2)
    files = sources.fetch_all(context)
    progress.update(0.3)
    result = _cached_or_built_dataset(context, files, base, vocabulary)
    shutil.rmtree(paths.downloads, ignore_errors=True)
    train, validation, read = (result.rows[name] for name in ("Train", "Validation", "Read"))
    message = f"{train} training and {validation} validation rows of {read} read"
    return StageReport(stage=RunStage.PREPARE, message=message, prepare=result)


def _cached_or_built_dataset(
    context: Context, files: FetchedFiles, base: StagedBaseModel, vocabulary: Prompter
) -> PrepareResult:
    """Restore the data set from the row cache, or build it and store it there."""
    config, paths = context.config, context.paths
    validity = _validity_check(context)
    max_tokens = min(config.spec.training.max_sequence_length, base.max_positions or 2**31)
    result_file = paths.workspace / "data" / "result.json"
    outputs = (paths.train_rows, paths.validation_rows, paths.selection_rows, paths.suite_rows, paths.dataset_report)
    cached_files = {path.name: path for path in (*outputs, result_file)}
    cache = RowCache(paths.cache / CACHE_FOLDER)
    key = _cache_key(config, files, vocabulary, max_tokens, validity) if config.spec.cache else None
    if key is not None and cache.restore(key, cached_files):
        result = PrepareResult.model_validate_json(result_file.read_bytes())
        _log(DatasetReport.model_validate_json(paths.dataset_report.read_bytes()))
        return result.model_copy(update={"cached": True, "base_digest": base.digest})
    result = _build_dataset(context, files, base, vocabulary, max_tokens, validity)
    write_atomic(result_file, result.model_dump_json(by_alias=True))
    if key is not None:
        cache.store(key, cached_files)
    return result


def _build_dataset(
    context: Context,
    files: FetchedFiles,
    base: StagedBaseModel,
    vocabulary: Prompter,
    max_tokens: int,
    validity: ValidityCheck | None,
) -> PrepareResult:
    from loraform_trainer.prepare.dataset.from_sources import (  # noqa: PLC0415 (cached rows need no such libraries)
        build_from_sources,
    )

    paths = context.paths
    dataset, suite = build_from_sources(context, files, vocabulary, max_tokens, validity)
    write_atomic(paths.dataset_report, dataset.report.model_dump_json(by_alias=True, exclude_none=True, indent=1))
    _log(dataset.report)
    if dataset.refusal is not None:
        raise DatasetInvalidError(dataset.refusal)
    write_jsonl(paths.suite_rows, (row.wire() for row in suite))
    return PrepareResult(
        dataset_digest=dataset.digest,
        rows=dataset.counts,
        base_digest=base.digest,
        template_hash=vocabulary.template_hash,
        suite_rows=len(suite),
        tokens=dataset.report.tokens or 0,
        warnings=dataset.report.warnings[:MAX_WARNINGS],
    )


def _log(report: DatasetReport) -> None:
    for line in report_lines(report):
        log.info("%s", line)


def _validity_check(context: Context) -> ValidityCheck | None:
    """Return the check by the verifier container, once that is ready; None when the spec does not need it."""
    dataset = context.config.spec.dataset
    if dataset.checks.validity is OnFinding.OFF and not dataset.repair_examples.percent:
        return None
    url = context.verifier_url.rstrip("/")
    with upstream_errors():
        blocking.wait_until_healthy(url, context.sidecar_wait_seconds)
    return ValidityCheck(partial(_verify, url))


def _verify(url: str, request: VerifyRequest) -> VerifyResponse:
    with upstream_errors():
        return blocking.verify(url, request)


def _cache_key(
    config: RunConfig, files: FetchedFiles, vocabulary: Prompter, max_tokens: int, validity: ValidityCheck | None
) -> str:
    """Return the key of the row cache: a digest of everything that decides the rows."""
    spec = config.spec
    return cache_key({
        "template": vocabulary.template_hash,  # covers the tokenizer
        "dataset": spec.dataset.model_dump(mode="json"),
        "suites": [suite.model_dump(mode="json") for suite, _ in files.suites],
        "policy": None if config.policy is None else config.policy.model_dump(mode="json"),
        "longest": max_tokens,
        "seed": spec.training.seed,
        "files": [sha256_file(path) for _, path in (*files.sources, *files.suites)],
        "toolchain": None if validity is None else validity.toolchain.model_dump(mode="json"),
    })  # fmt: skip
