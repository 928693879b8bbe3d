"""From a named source of the spec to a file on this machine; and whether policy packs are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loraform_api.dataset import TrainingSource
from loraform_api.finetunejob import SuiteSpec
from loraform_api.names import PACK_FILE
from loraform_api.sources import ClaimSource, ConfigMapSource, DataSource
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.mounts import mounted


@dataclass(frozen=True, slots=True)
class Fetched:
    """The files of a run's data."""

    sources: list[tuple[TrainingSource, Path]]
    suites: list[tuple[SuiteSpec, Path]]


def fetch_all(context: Context) -> Fetched:
    """Return the files of all sources and suites; raises StageError for the first that does not come."""
    spec, paths = context.config.spec, context.paths
    return Fetched(
        [(s, fetch(context, s, paths.sources_mount, "dataset.sources")) for s in spec.dataset.sources],
        [(s, fetch(context, s, paths.suites_mount, "evaluation.suites")) for s in spec.evaluation.suites],
    )


def fetch(context: Context, source: DataSource, mount: Path, field: str) -> Path:
    """Return the file of `source`, fetched when it is remote; its name ends as the source's own does.

    `field` names the list in messages (`dataset.sources`); `mount` is the folder of this list's mounts, and the
    source's own has its name. Raises StageError.
    """
    label = f"source {source.name!r} of {field}"
    folder, wait = mount / source.name, context.mount_wait_seconds
    match source:
        case DataSource(config_map=ConfigMapSource() as at):
            return mounted(folder, at.key, f"{label}: ConfigMap {at.name!r} with key {at.key!r}", wait)
        case DataSource(persistent_volume_claim=ClaimSource() as at):
            what = f"{label}: file {at.path!r} in PersistentVolumeClaim {at.claim_name!r}"
            return mounted(folder, at.path, what, wait)
        case _:
            from loraform_trainer.remote.source import Fetch  # noqa: PLC0415 (clients, which mounted files need not)

            stem = context.paths.downloads / f"{field}.{source.name}"
            artifact = context.config.flux.get(f"{field.rpartition('.')[2]}/{source.name}")
            return Fetch(label, folder, stem, wait).file(source, artifact)


def check_packs(context: Context) -> None:
    """Raise MissingReferenceError for a policy pack that the verifier would not find."""
    policy = context.config.policy
    for pack in policy.packs if policy else ():
        reference = pack.config_map
        what = f"pack {pack.name!r} of policy.packs: ConfigMap {reference.name!r} with key {reference.key!r}"
        mounted(context.paths.packs_mount / pack.name, PACK_FILE, what, context.mount_wait_seconds)
