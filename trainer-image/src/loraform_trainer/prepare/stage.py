"""Stage `prepare`: from sources to tokenised rows, a staged base model, suites and the live adapter. Needs no GPU."""

from __future__ import annotations

import logging
import shutil
from functools import partial

from loraform_api.dataset import OnFinding
from loraform_api.names import RunStage
from loraform_api.run import PrepareResult, RunConfig, StageReport
from loraform_api.verification import Stage
from loraform_trainer.prepare import sources, staging, verifier_client
from loraform_trainer.prepare.dataset.cache import RowCache, key_of
from loraform_trainer.prepare.dataset.report import MAX_WARNINGS, Report, lines
from loraform_trainer.prepare.dataset.validity import Validity
from loraform_trainer.prepare.sources import Fetched
from loraform_trainer.prepare.staging import BaseModel
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import DatasetInvalidError, InvalidConfigError
from loraform_trainer.runtime.files import sha256_file, write_atomic, write_jsonl
from loraform_trainer.runtime.tokens import BaseTokens
from loraform_trainer.train.method import check_lora, check_merge, check_method

log = logging.getLogger(__name__)

CACHE_FOLDER = "rows"


def run(context: Context) -> StageReport:
    """Prepare the workspace; raises StageError with what is wrong and where."""
    config, paths, progress = context.config, context.paths, context.progress
    progress.update(0)
    check_method(config)
    _check_suites(config)
    sources.check_packs(context)
    base = staging.stage_base(context)
    check_lora(config, paths.base)
    check_merge(config.spec, paths.base, paths.workspace)
    vocabulary = tokens.load(paths.base)
    if config.live is not None:
        staging.stage_live(paths.live_mount, config.live, paths.live)
    progress.update(0.2)
    fetched = sources.fetch_all(context)
    progress.update(0.3)
    result = _rows(context, fetched, base, vocabulary)
    shutil.rmtree(paths.downloads, ignore_errors=True)
    train, validation, read = (result.rows[name] for name in ("Train", "Validation", "Read"))
    message = f"{train} training and {validation} validation rows of {read} read"
    return StageReport(stage=RunStage.PREPARE, message=message, prepare=result)


def _check_suites(config: RunConfig) -> None:
    for suite in config.spec.evaluation.suites:
        if config.policy and config.policy.packs and Stage.POLICY in suite.stages and Stage.PLAN not in suite.stages:
            raise InvalidConfigError(
                f"spec.evaluation.suites: the policy's packs ask the plan, and `stages` of suite {suite.name!r} lack "
                "Plan: add it, or leave out Policy"
            )


def _rows(context: Context, fetched: Fetched, base: BaseModel, vocabulary: BaseTokens) -> PrepareResult:
    """Take the rows from the cache, or prepare them and keep them there."""
    config, paths = context.config, context.paths
    validity = _validity(context)
    longest = min(config.spec.training.max_sequence_length, base.max_positions or 2**31)
    told = paths.workspace / "data" / "result.json"
    kept = (paths.train_rows, paths.validation_rows, paths.selection_rows, paths.suite_rows, paths.dataset_report, told)
    files = {path.name: path for path in kept}
    cache = RowCache(paths.cache / CACHE_FOLDER)
    key = _key(config, fetched, vocabulary, longest, validity) if config.spec.cache else None
    if key is not None and cache.take(key, files):
        result = PrepareResult.model_validate_json(told.read_bytes())
        _log(Report.model_validate_json(paths.dataset_report.read_bytes()))
        return result.model_copy(update={"cached": True, "base_digest": base.digest})
    result = _prepared(context, fetched, base, vocabulary, longest, validity)
    write_atomic(told, result.model_dump_json(by_alias=True))
    if key is not None:
        cache.keep(key, files)
    return result


def _prepared(
    context: Context,
    fetched: Fetched,
    base: BaseModel,
    vocabulary: BaseTokens,
    longest: int,
    validity: Validity | None,
) -> PrepareResult:
    from loraform_trainer.prepare.dataset import load  # noqa: PLC0415 (libraries that cached rows do not need)

    paths = context.paths
    outcome, suite = load.rows(context, fetched, vocabulary, longest, validity)
    write_atomic(paths.dataset_report, outcome.report.model_dump_json(by_alias=True, exclude_none=True, indent=1))
    _log(outcome.report)
    if outcome.refusal is not None:
        raise DatasetInvalidError(outcome.refusal)
    write_jsonl(paths.suite_rows, (row.wire() for row in suite))
    return PrepareResult(
        dataset_digest=outcome.digest,
        rows=outcome.counts,
        base_digest=base.digest,
        template_hash=vocabulary.template_hash,
        suite_rows=len(suite),
        tokens=outcome.report.tokens or 0,
        warnings=outcome.report.warnings[:MAX_WARNINGS],
    )


def _log(report: Report) -> None:
    for line in lines(report):
        log.info("%s", line)


def _validity(context: Context) -> Validity | None:
    """Return the verifier beside this stage, once it answers; None where nothing is asked of it."""
    dataset = context.config.spec.dataset
    if dataset.checks.validity is OnFinding.OFF and not dataset.repair_examples.percent:
        return None
    url = context.verifier_url.rstrip("/")
    verifier_client.wait_for(url, context.sidecar_wait_seconds)
    return Validity(partial(verifier_client.verify, url))


def _key(config: RunConfig, fetched: Fetched, vocabulary: BaseTokens, longest: int, validity: Validity | None) -> str:
    """Return the digest of all that decides the rows."""
    spec = config.spec
    return key_of({
        "template": vocabulary.template_hash,  # covers the tokenizer
        "dataset": spec.dataset.model_dump(mode="json"),
        "suites": [suite.model_dump(mode="json") for suite, _ in fetched.suites],
        "policy": None if config.policy is None else config.policy.model_dump(mode="json"),
        "longest": longest,
        "seed": spec.training.seed,
        "files": [sha256_file(path) for _, path in (*fetched.sources, *fetched.suites)],
        "toolchain": None if validity is None else validity.toolchain.model_dump(mode="json"),
    })  # fmt: skip
