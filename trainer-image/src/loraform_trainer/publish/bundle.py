"""Collects the files of the run's artifact and writes their manifest, before any store is contacted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loraform_api.artifact import (
    ADAPTER_FILES,
    EVALUATION_ROWS_FILE,
    EVIDENCE_FILES,
    MANIFEST_FILE,
    MODEL_FOLDER,
    PARITY_FILE,
    RUN_FILE,
    Manifest,
    adapter_digest,
)
from loraform_api.names import RunStage, run_prefix
from loraform_api.run import PrepareResult
from loraform_trainer.runtime import stage_report
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import StageError
from loraform_trainer.runtime.files import sha256_file, write_atomic


@dataclass(frozen=True, slots=True)
class Bundle:
    """The artifact to publish."""

    name: str
    """Name of the artifact in the store, unique for the run."""
    files: Mapping[str, Path]
    """Local path of each file by its name in the artifact; the manifest is the last one."""
    manifest: Manifest

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(path.stat().st_size for path in self.files.values())


def assemble(context: Context) -> Bundle:
    """Return the run's artifact; writes run record and manifest into the workspace.

    Raises StageError when stage prepare left no report, and OSError when a file is absent.
    """
    paths = context.paths
    prepared = _prepare_result(context)
    files = {name: paths.adapter / name for name in (*ADAPTER_FILES, PARITY_FILE)}
    files[EVALUATION_ROWS_FILE] = paths.evaluation_rows
    files |= {name: paths.workspace / name for name in EVIDENCE_FILES if (paths.workspace / name).is_file()}
    if context.config.spec.output.merge:
        files |= {f"{MODEL_FOLDER}/{file.name}": file for file in sorted(paths.model.iterdir())}
    files[RUN_FILE] = paths.workspace / "publish" / RUN_FILE
    write_atomic(files[RUN_FILE], _run_record(context))
    digests = {name: sha256_file(path) for name, path in files.items()}
    manifest = Manifest(
        digest=adapter_digest(digests),
        template_hash=prepared.template_hash,
        base_digest=prepared.base_digest,
        files=digests,
    )
    files[MANIFEST_FILE] = paths.workspace / "publish" / MANIFEST_FILE
    write_atomic(files[MANIFEST_FILE], manifest.model_dump_json(by_alias=True, indent=2))
    return Bundle(run_prefix(context.config.name, context.config.uid), files, manifest)


def _prepare_result(context: Context) -> PrepareResult:
    report = stage_report.read(context.paths, RunStage.PREPARE)
    if report is None or report.prepare is None:
        raise StageError("the workspace has no report of stage prepare")
    return report.prepare


def _run_record(context: Context) -> str:
    reports = {str(stage): stage_report.read(context.paths, stage) for stage in RunStage}
    record = {
        "config": context.config.model_dump(mode="json", by_alias=True, exclude_none=True),
        "reports": {
            stage: report.model_dump(mode="json", by_alias=True, exclude_none=True)
            for stage, report in reports.items()
            if report is not None
        },
    }
    return json.dumps(record, indent=2) + "\n"
