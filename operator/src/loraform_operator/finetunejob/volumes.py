"""What a stage reads and writes beside the workspace: claims, ConfigMaps, credentials. Pure."""

from __future__ import annotations

from loraform_api import names
from loraform_api.finetunejob import FineTuneJob
from loraform_api.meta import is_claim_uri, split_claim_uri
from loraform_api.names import RunStage
from loraform_api.sources import Access, DataSource
from loraform_operator.finetunejob.observe import Run
from loraform_operator.kube.objects import Object
from loraform_operator.pods.parts import (
    access_volume,
    claim_volume,
    config_map_volume,
    pack_mounts,
    pack_volumes,
)

Mounted = list[tuple[Object, str]]
"""Volumes, each with the path at which the stage's container has it."""


def volumes_of(job: FineTuneJob, stage: RunStage, run: Run) -> tuple[list[Object], list[Object]]:
    """Return the volumes of a stage's pod and the mounts of its container."""
    if stage is RunStage.PREPARE:
        found = [*_base(job), *_live(run), *_cache(job), *_sources(job)]
        # Optional, as ConfigMaps of rows are: `prepare` waits for what is missing, and names it.
        packs, mounts = pack_volumes(run.config.policy, optional=True), pack_mounts(run.config.policy)
    elif stage is RunStage.EVALUATE:
        found, packs, mounts = [], pack_volumes(run.config.policy, optional=False), []
    else:
        found, packs, mounts = _store(job) if stage is RunStage.PUBLISH else [], [], []
    writable = {names.OUTPUT_MOUNT, names.CACHE_MOUNT}
    own = [
        {"name": v["name"], "mountPath": path, **({} if path in writable else {"readOnly": True})} for v, path in found
    ]
    return [*(v for v, _ in found), *packs], [*own, *mounts]


def _base(job: FineTuneJob) -> Mounted:
    return _place(
        "base", job.spec.base_model.storage_uri, job.spec.base_model, names.BASE_MOUNT, names.BASE_ACCESS_MOUNT
    )


def _store(job: FineTuneJob) -> Mounted:
    output = job.spec.output
    return _place("output", output.storage_uri, output, names.OUTPUT_MOUNT, names.OUTPUT_ACCESS_MOUNT)


def _place(volume: str, uri: str, access: Access, mount: str, access_mount: str) -> Mounted:
    """Return the claim of a `pvc://` URI, or what it takes to reach a remote one."""
    if is_claim_uri(uri):
        claim, _ = split_claim_uri(uri)
        return [(claim_volume(volume, claim, read_only=mount == names.BASE_MOUNT), mount)]
    made = access_volume(f"{volume}-access", access)
    return [(made, access_mount)] if made else []


def _live(run: Run) -> Mounted:
    claim = run.facts.live_claim
    return [] if claim is None else [(claim_volume("live", claim, read_only=True), names.LIVE_MOUNT)]


def _cache(job: FineTuneJob) -> Mounted:
    cache = job.spec.cache
    return [] if cache is None else [(claim_volume("cache", cache.claim_name, read_only=False), names.CACHE_MOUNT)]


def _sources(job: FineTuneJob) -> Mounted:
    groups: tuple[tuple[str, str, list[DataSource]], ...] = (
        ("source", names.SOURCES_MOUNT, list(job.spec.dataset.sources)),
        ("suite", names.SUITES_MOUNT, list(job.spec.evaluation.suites)),
    )
    found = (
        (_source(source, f"{group}-{number}"), f"{folder}/{source.name}")
        for group, folder, sources in groups
        for number, source in enumerate(sources)
    )
    return [(volume, path) for volume, path in found if volume is not None]


def _source(source: DataSource, volume: str) -> Object | None:
    """Return the volume that one source needs, if any. ConfigMaps are optional: `prepare` names a missing one."""
    if source.config_map is not None:
        return config_map_volume(volume, source.config_map.name, source.config_map.key, optional=True)
    if source.persistent_volume_claim is not None:
        return claim_volume(volume, source.persistent_volume_claim.claim_name, read_only=True)
    return access_volume(volume, source.access)
