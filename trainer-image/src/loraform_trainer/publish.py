"""Stage `publish`: adapter, parity file, manifest, run record and evidence, whole in the store or absent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import ValidationError

from loraform_api.artifact import (
    ADAPTER_FILES,
    EVALUATION_ROWS_FILE,
    EVIDENCE_FILES,
    MANIFEST_FILE,
    PARITY_FILE,
    RUN_FILE,
    Manifest,
    adapter_digest,
)
from loraform_api.names import RunStage, run_prefix
from loraform_api.run import PrepareResult, PublishResult, StageReport
from loraform_trainer import reports
from loraform_trainer.context import Context
from loraform_trainer.errors import InvalidConfigError, MissingReferenceError, StageError, one_line
from loraform_trainer.files import copy_hashed, fsync_folder, inside, sha256_file, write_atomic
from loraform_trainer.staging import split_uri


def run(context: Context) -> StageReport:
    """Publish the run's artifact; finding it there already is success, finding another one is an error."""
    config, paths = context.config, context.paths
    claim, store = split_uri(config.spec.output.storage_uri)
    root = inside(paths.output_mount, store)
    if root is None or not paths.output_mount.is_dir():
        raise MissingReferenceError(f"spec.output.storageUri: folder {store!r} leads outside of claim {claim!r}")
    name = run_prefix(config.name, config.uid)
    target = root / name
    digest = adapter_digest({file: sha256_file(paths.adapter / file) for file in ADAPTER_FILES})
    if target.exists():
        _same(target, digest)
    else:
        _publish(context, target, digest)
    context.progress.update(0.99)
    size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file())
    path = str(target.relative_to(paths.output_mount.resolve()))
    result = PublishResult(path=path, digest=digest, size_bytes=size)
    return StageReport(stage=RunStage.PUBLISH, message=one_line(f"pvc://{claim}/{path}"), publish=result)


def _publish(context: Context, target: Path, digest: str) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a pod that was killed; a run has one publish pod at a time
    paths = context.paths
    prepared = _prepared(context)
    sources = {name: paths.adapter / name for name in (*ADAPTER_FILES, PARITY_FILE)}
    sources[EVALUATION_ROWS_FILE] = paths.evaluation_rows
    sources |= {name: paths.workspace / name for name in EVIDENCE_FILES if (paths.workspace / name).is_file()}
    digests = {}
    for name, source in sources.items():
        with source.open("rb") as stream:
            digests[name] = copy_hashed(stream, partial / name)
    if adapter_digest(digests) != digest:
        raise StageError("the adapter changed while it was copied")
    write_atomic(partial / RUN_FILE, _run_record(context))
    digests[RUN_FILE] = sha256_file(partial / RUN_FILE)
    manifest = Manifest(
        digest=digest, template_hash=prepared.template_hash, base_digest=prepared.base_digest, files=digests
    )
    write_atomic(partial / MANIFEST_FILE, manifest.model_dump_json(by_alias=True, indent=2))
    partial.rename(target)
    fsync_folder(target.parent)


def _same(target: Path, digest: str) -> None:
    """Accept a folder only with this run's adapter and every file as its manifest says."""
    try:
        manifest = Manifest.model_validate_json((target / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise InvalidConfigError(f"{target.name} in the store has no readable {MANIFEST_FILE}; remove it") from error
    if manifest.digest != digest:
        raise InvalidConfigError(
            f"{target.name} in the store holds adapter {manifest.digest}, this run made {digest}: not overwritten"
        )
    for name, expected in manifest.files.items():
        file = target / name
        if not file.is_file() or sha256_file(file) != expected:
            raise InvalidConfigError(f"{target.name}/{name} in the store is not as {MANIFEST_FILE} says; remove it")


def _prepared(context: Context) -> PrepareResult:
    report = reports.read(context.paths, RunStage.PREPARE)
    if report is None or report.prepare is None:
        raise StageError("the workspace has no report of stage prepare")
    return report.prepare


def _run_record(context: Context) -> str:
    done = {str(stage): reports.read(context.paths, stage) for stage in RunStage}
    record = {
        "config": context.config.model_dump(mode="json", by_alias=True, exclude_none=True),
        "reports": {
            stage: report.model_dump(mode="json", by_alias=True, exclude_none=True)
            for stage, report in done.items()
            if report is not None
        },
    }
    return json.dumps(record, indent=2) + "\n"
