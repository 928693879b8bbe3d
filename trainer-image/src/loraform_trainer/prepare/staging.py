"""Copies base model and live adapter into the workspace: only safetensors and JSON files, checked and hashed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loraform_api.artifact import ADAPTER_FILES, PARITY_FILE, adapter_digest
from loraform_api.meta import is_claim_uri, split_claim_uri
from loraform_api.run import LiveAdapter
from loraform_trainer.prepare.basemodel import cache
from loraform_trainer.prepare.basemodel.origins import Origin, RemoteFile
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import BaseModelInvalidError, MissingReferenceError, TransientError
from loraform_trainer.runtime.files import copy_hashed, resolve_inside, tree_digest
from loraform_trainer.runtime.model_files import (
    FIELD,
    check_settings,
    check_space,
    check_weights,
    is_weights,
    select_files,
)

log = logging.getLogger(__name__)

WORKSPACE = "spec.workspace.size"
CACHE = "spec.cache.claimName"


@dataclass(frozen=True)
class StagedBaseModel:
    """The base model in the workspace."""

    digest: str
    """Digest of its files."""
    max_positions: int | None
    """`max_position_embeddings` of its config.json: the longest sequence in tokens; None when absent."""


def stage_base(context: Context) -> StagedBaseModel:
    """Copy the base model's allowed files into the workspace, from its claim, the cache or a remote server.

    Raises StageError when it is absent, unsafe, too large, or differs from its listing.
    """
    spec, paths = context.config.spec.base_model, context.paths
    paths.base.parent.mkdir(parents=True, exist_ok=True)
    if is_claim_uri(spec.storage_uri):
        digests = _from_claim(paths.base_mount, spec.storage_uri, paths.base)
    else:
        from loraform_trainer.prepare.basemodel.remotes import open_origin  # noqa: PLC0415 (claims need no clients)

        origin = open_origin(spec, paths.base_access, context.mount_wait_seconds)
        files = _selected_files(origin, spec.storage_uri)
        if context.config.spec.cache is None:
            check_space(sum(f.size for f in files), paths.base.parent, WORKSPACE)
            shutil.rmtree(paths.base, ignore_errors=True)
            digests = _fetch(origin, files, paths.base)
        elif paths.cache.is_dir():
            digests = _through_cache(paths.cache / "bases", spec.storage_uri, origin, files, paths.base)
        else:
            raise MissingReferenceError(f"{CACHE}: the volume of {context.config.spec.cache.claim_name!r} is absent")
    positions = check_settings(paths.base, digests).get("max_position_embeddings")
    check_weights(paths.base, digests)
    return StagedBaseModel(tree_digest(digests), positions if isinstance(positions, int) else None)


def _from_claim(mount: Path, storage_uri: str, target: Path) -> Mapping[str, str]:
    claim, folder = split_claim_uri(storage_uri)
    source = resolve_inside(mount, folder)
    if source is None or not source.is_dir():
        raise MissingReferenceError(
            f"{FIELD}: folder {folder or '/'!r} was not found in PersistentVolumeClaim {claim!r}"
        )
    names = select_files((entry.name for entry in source.iterdir()), storage_uri)
    for name in names:
        if (source / name).is_symlink() or not (source / name).is_file():
            raise BaseModelInvalidError(f"{FIELD}: {name} in {storage_uri} is not a regular file: copy it with `cp -L`")
    check_settings(source, names)
    check_space(sum((source / name).stat().st_size for name in names), target.parent, WORKSPACE)
    return _copy(source, names, target)


def _copy(source: Path, names: Sequence[str], target: Path) -> Mapping[str, str]:
    shutil.rmtree(target, ignore_errors=True)
    digests = {}
    for name in names:
        with (source / name).open("rb") as stream:
            digests[name] = copy_hashed(stream, target / name)
    return digests


def _selected_files(origin: Origin, storage_uri: str) -> list[RemoteFile]:
    files = {file.name: file for file in origin.files()}
    return [files[name] for name in select_files(files, storage_uri)]


def _fetch(origin: Origin, files: Sequence[RemoteFile], target: Path) -> Mapping[str, str]:
    """Download files into a folder and return their sha256; checks the settings before it downloads weights."""
    digests: dict[str, str] = {}
    for file in files:
        if is_weights(file.name) and not any(is_weights(name) for name in digests):
            check_settings(target, digests)
        digests[file.name] = origin.save(file, target / file.name)
        if (size := (target / file.name).stat().st_size) != file.size:
            raise TransientError(f"{FIELD}: {file.name} has {size} bytes, but the listing says {file.size}")
        if file.sha256 is not None and digests[file.name] != file.sha256:
            raise TransientError(
                f"{FIELD}: {file.name} has sha256 {digests[file.name]}, but the listing says {file.sha256}"
            )
    return digests


def _through_cache(
    root: Path, storage_uri: str, origin: Origin, files: Sequence[RemoteFile], target: Path
) -> Mapping[str, str]:
    """Copy the model from its cache entry, which is created if it is absent and replaced if it is damaged."""
    needed = sum(f.size for f in files)
    check_space(needed, target.parent, WORKSPACE)
    name = cache.key(storage_uri, files)
    if (root / name).exists():
        existing = cache.find(root, name, files)
        digests = None if existing is None else _copy_entry(existing, target)
        if digests is not None:
            log.info("the base model was taken from the cache, entry %s", name)
            return digests
        cache.discard(root, name)
    root.mkdir(parents=True, exist_ok=True)
    check_space(needed, root, CACHE)
    digests = _copy_entry(cache.add(root, name, files, lambda folder: _fetch(origin, files, folder)), target)
    if digests is None:
        raise TransientError(f"{CACHE}: the base model changed in the cache while it was copied")
    return digests


def _copy_entry(entry: cache.CacheEntry, target: Path) -> Mapping[str, str] | None:
    """Copy an entry's files and return their sha256; None when they differ from its index."""
    try:
        digests = _copy(entry.folder, list(entry.digests), target)
    except FileNotFoundError:
        return None
    return digests if digests == entry.digests else None


def stage_live(mount: Path, live: LiveAdapter, target: Path) -> None:
    """Copy the live version's adapter; raises MissingReferenceError when it is absent or has another digest."""
    source = resolve_inside(mount, live.path)
    label = f"the live version {live.version} ({live.path} in its claim)"
    if source is None or not all((source / name).is_file() for name in ADAPTER_FILES):
        raise MissingReferenceError(f"{label} has no {' and '.join(ADAPTER_FILES)}")
    shutil.rmtree(target, ignore_errors=True)
    digests = {}
    for name in (*ADAPTER_FILES, PARITY_FILE):
        if (source / name).is_file():
            with (source / name).open("rb") as stream:
                digests[name] = copy_hashed(stream, target / name)
    digest = adapter_digest(digests)
    if digest != live.digest:
        raise MissingReferenceError(f"{label} has digest {digest}, but the version says {live.digest}")
