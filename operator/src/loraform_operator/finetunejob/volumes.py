"""Volumes of a stage beside the workspace: claims, ConfigMaps, credentials. Pure."""

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
"""Volumes, each with its mount path in the stage's container."""


def volumes_of(job: FineTuneJob, stage: RunStage, run: Run) -> tuple[list[Object], list[Object]]:
    """Return the volumes of a stage's pod and the mounts of its container."""
    if stage is RunStage.PREPARE:
        mounted = [*_base(job), *_live(run), *_cache(job), *_sources(job)]
        # Optional, like ConfigMaps of rows: the pod starts, and `prepare` names what is missing.
        packs, mounts = pack_volumes(run.config.policy, optional=True), pack_mounts(run.config.policy)
    elif stage is RunStage.EVALUATE:
        mounted, packs, mounts = [], pack_volumes(run.config.policy, optional=False), []
    else:
        mounted, packs, mounts = _store(job) if stage is RunStage.PUBLISH else [], [], []
    writable = {names.OUTPUT_MOUNT, names.CACHE_MOUNT}
    stage_mounts = [
        {"name": v["name"], "mountPath": path, **({} if path in writable else {"readOnly": True})}
        for v, path in mounted
    ]
    return [*(v for v, _ in mounted), *packs], [*stage_mounts, *mounts]


def _base(job: FineTuneJob) -> Mounted:
    return _storage(
        "base", job.spec.base_model.storage_uri, job.spec.base_model, names.BASE_MOUNT, names.BASE_ACCESS_MOUNT
    )


def _store(job: FineTuneJob) -> Mounted:
    output = job.spec.output
    return _storage("output", output.storage_uri, output, names.OUTPUT_MOUNT, names.OUTPUT_ACCESS_MOUNT)


def _storage(volume: str, uri: str, access: Access, mount: str, access_mount: str) -> Mounted:
    """Return the claim of a `pvc://` URI, or the credentials of a remote URI."""
    if is_claim_uri(uri):
        claim, _ = split_claim_uri(uri)
        return [(claim_volume(volume, claim, read_only=mount == names.BASE_MOUNT), mount)]
    credentials = access_volume(f"{volume}-access", access)
    return [(credentials, access_mount)] if credentials else []


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
    volumes = (
        (_source(source, f"{group}-{number}"), f"{folder}/{source.name}")
        for group, folder, sources in groups
        for number, source in enumerate(sources)
    )
    return [(volume, path) for volume, path in volumes if volume is not None]


def _source(source: DataSource, volume: str) -> Object | None:
    """Return the volume of a source, or None. ConfigMaps are optional: `prepare` names a missing one."""
    if source.config_map is not None:
        return config_map_volume(volume, source.config_map.name, source.config_map.key, optional=True)
    if source.persistent_volume_claim is not None:
        return claim_volume(volume, source.persistent_volume_claim.claim_name, read_only=True)
    return access_volume(volume, source.access)
