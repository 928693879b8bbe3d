"""From a named source of the spec to a file on this machine; and whether policy packs are there."""

from __future__ import annotations

import time
from pathlib import Path

from loraform_api.finetunejob import DataSource
from loraform_api.meta import LocalReference
from loraform_api.names import CA_FILE, PACK_FILE
from loraform_trainer import download, git
from loraform_trainer.context import Context
from loraform_trainer.errors import InvalidConfigError, MissingReferenceError
from loraform_trainer.files import inside

POLL_SECONDS = 0.5


def fetch(context: Context, source: DataSource, mount: Path, field: str) -> Path:
    """Return the file of `source`, fetched when it is remote; `field` names the list in messages (`dataset.sources`).

    `mount` is the folder of this list's mounts; the source's own has its name. Raises StageError.
    """
    label = f"source {source.name!r} of {field}"
    folder = mount / source.name
    target = context.paths.downloads / f"{field}.{source.name}.jsonl"
    wait = context.mount_wait_seconds
    if source.config_map is not None:
        reference = source.config_map
        return _mounted(
            folder, reference.key, f"{label}: ConfigMap {reference.name!r} with key {reference.key!r}", wait
        )
    if source.persistent_volume_claim is not None:
        claim = source.persistent_volume_claim
        what = f"{label}: file {claim.path!r} in PersistentVolumeClaim {claim.claim_name!r}"
        return _mounted(folder, claim.path, what, wait)
    if source.http is not None:
        http = source.http
        ca = _certificates(folder, http.ca_config_map_ref, label, wait)
        download.download(http.url, target, sha256=http.sha256, ca_file=ca, field=f"{label}, http.url")
        return target
    if source.git is not None:
        ref = source.git
        ca = _certificates(folder, ref.ca_config_map_ref, label, wait)
        git.read_file(ref.url, ref.commit, ref.path, target, ca_file=ca, field=f"{label}, git.url")
        return target
    raise InvalidConfigError(f"{label}: exactly one of http, git, configMap and persistentVolumeClaim must be set")


def check_packs(context: Context) -> None:
    """Raise MissingReferenceError for a policy pack that the verifier would not find."""
    policy = context.config.policy
    for pack in policy.packs if policy else ():
        reference = pack.config_map
        what = f"pack {pack.name!r} of policy.packs: ConfigMap {reference.name!r} with key {reference.key!r}"
        _mounted(context.paths.packs_mount / pack.name, PACK_FILE, what, context.mount_wait_seconds)


def _certificates(folder: Path, ref: LocalReference | None, label: str, wait_seconds: float) -> Path | None:
    if ref is None:
        return None
    what = f"{label}: ConfigMap {ref.name!r} with key {CA_FILE!r} (caConfigMapRef)"
    return _mounted(folder, CA_FILE, what, wait_seconds)


def _mounted(folder: Path, relative: str, what: str, wait_seconds: float) -> Path:
    deadline = time.monotonic() + wait_seconds
    while True:
        # a ConfigMap's files are links, but inside their mount; a link out of it is refused
        path = inside(folder, relative)
        if path is not None and path.is_file():
            return path
        if time.monotonic() >= deadline:
            raise MissingReferenceError(f"{what} was not found")
        time.sleep(POLL_SECONDS)
