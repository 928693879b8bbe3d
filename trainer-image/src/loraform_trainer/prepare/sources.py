"""Provides the files of sources and suites, mounted or downloaded, and checks that policy packs exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loraform_api.dataset import TrainingSource
from loraform_api.finetunejob import SuiteSpec
from loraform_api.names import PACK_FILE
from loraform_api.sources import ClaimSource, ConfigMapSource, DataSource
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.mounts import mounted_file


@dataclass(frozen=True, slots=True)
class FetchedFiles:
    """The local files of all sources and suites of a run."""

    sources: list[tuple[TrainingSource, Path]]
    suites: list[tuple[SuiteSpec, Path]]


def fetch_all(context: Context) -> FetchedFiles:
    """Return the files of all sources and suites; raises StageError for the first that is not available."""
    spec, paths = context.config.spec, context.paths
    return FetchedFiles(
        [(s, fetch(context, s, paths.sources_mount, "dataset.sources")) for s in spec.dataset.sources],
        [(s, fetch(context, s, paths.suites_mount, "evaluation.suites")) for s in spec.evaluation.suites],
    )


def fetch(context: Context, source: DataSource, mount: Path, field: str) -> Path:
    """Return the file of `source`, downloaded if it is remote, with the suffix of the source's file.

    `field` names the list in messages (`dataset.sources`); the source is mounted in the folder of its name below
    `mount`. Raises StageError.
    """
    label = f"source {source.name!r} of {field}"
    folder, wait = mount / source.name, context.mount_wait_seconds
    match source:
        case DataSource(config_map=ConfigMapSource() as location):
            description = f"{label}: ConfigMap {location.name!r} with key {location.key!r}"
            return mounted_file(folder, location.key, description, wait)
        case DataSource(persistent_volume_claim=ClaimSource() as location):
            description = f"{label}: file {location.path!r} in PersistentVolumeClaim {location.claim_name!r}"
            return mounted_file(folder, location.path, description, wait)
        case _:
            from loraform_trainer.remote.source import SourceDownload  # noqa: PLC0415 (mounted files need no clients)

            stem = context.paths.downloads / f"{field}.{source.name}"
            artifact = context.config.flux.get(f"{field.rpartition('.')[2]}/{source.name}")
            return SourceDownload(label, folder, stem, wait).fetch(source, artifact)


def check_packs(context: Context) -> None:
    """Raise MissingReferenceError for a policy pack whose file is not mounted."""
    policy = context.config.policy
    for pack in policy.packs if policy else ():
        reference = pack.config_map
        description = f"pack {pack.name!r} of policy.packs: ConfigMap {reference.name!r} with key {reference.key!r}"
        mounted_file(context.paths.packs_mount / pack.name, PACK_FILE, description, context.mount_wait_seconds)
