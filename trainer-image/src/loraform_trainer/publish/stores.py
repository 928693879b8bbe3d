"""Stores of artifacts: claim, bucket and registry. Artifacts appear completely or not at all; none is overwritten.

Publishing the same adapter again succeeds: a publish pod may be killed after its work and run again.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from loraform_api.artifact import MANIFEST_FILE, Manifest
from loraform_api.finetunejob import OutputSpec
from loraform_api.meta import Scheme, is_claim_uri, split_claim_uri, split_uri
from loraform_trainer.publish.bundle import Bundle
from loraform_trainer.remote import oci
from loraform_trainer.remote.access import LOGIN, S3_KEYS, RemoteAccess, read_access
from loraform_trainer.remote.oci import Blob, Repository
from loraform_trainer.runtime.errors import InvalidConfigError, MissingReferenceError, StageError
from loraform_trainer.runtime.files import copy_hashed, fsync_folder, resolve_inside, sha256_file

if TYPE_CHECKING:
    from loraform_trainer.remote.s3 import Bucket

FIELD = "spec.output.storageUri"
SHA256 = "sha256"
"""Metadata key of an S3 object: the sha256 of its content."""
ARTIFACT_TYPE = "application/vnd.loraform.adapter.v1"
FILE_TYPE = "application/vnd.loraform.adapter.file.v1"
ADAPTER_DIGEST = "dev.loraform.adapter.digest"
BASE_DIGEST = "dev.loraform.base.digest"
TEMPLATE_HASH = "dev.loraform.template.hash"


class Store(Protocol):
    """Where artifacts are published."""

    def publish(self, bundle: Bundle) -> str:
        """Store the artifact and return its URI; raises InvalidConfigError when another artifact has its name."""
        ...


def open_store(output: OutputSpec, mount: Path, access_folder: Path, wait_seconds: float) -> Store:
    """Return the store of `output`; a claim is mounted at `mount`, Secret and ConfigMap at `access_folder`.

    Raises StageError.
    """
    if is_claim_uri(output.storage_uri):
        return ClaimStore(mount, output.storage_uri)
    scheme, rest = split_uri(output.storage_uri)
    keys = S3_KEYS if scheme is Scheme.S3 else LOGIN
    access = read_access(access_folder, output, FIELD, InvalidConfigError, keys, wait_seconds)
    if scheme is Scheme.S3:
        from loraform_trainer.remote.s3 import Bucket  # noqa: PLC0415 (boto3 takes a third of a second)

        bucket, _, prefix = rest.partition("/")
        return BucketStore(Bucket(access, output, bucket), f"{prefix.rstrip('/')}/" if prefix else "")
    if "@" in rest:
        raise InvalidConfigError(f"{FIELD}: {output.storage_uri} has a digest; give a repository without one")
    return RegistryStore(access, rest)


@dataclass(frozen=True, slots=True)
class ClaimStore:
    """A folder of a claim: the artifact is copied under a temporary name and then renamed."""

    mount: Path
    storage_uri: str

    def publish(self, bundle: Bundle) -> str:
        claim, folder = split_claim_uri(self.storage_uri)
        root = resolve_inside(self.mount, folder)
        if root is None or not self.mount.is_dir():
            raise MissingReferenceError(f"{FIELD}: folder {folder!r} leads outside of claim {claim!r}")
        target = root / bundle.name
        if target.exists():
            self._check(target, bundle)
        else:
            self._copy(target, bundle)
        return Scheme.PVC.uri(f"{claim}/{target.relative_to(self.mount.resolve())}")

    def _copy(self, target: Path, bundle: Bundle) -> None:
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # left by a killed pod; a run has one publish pod at a time
        for name, source in bundle.files.items():
            with source.open("rb") as stream:
                digest = copy_hashed(stream, partial / name)
            if name != MANIFEST_FILE and digest != bundle.manifest.files[name]:
                raise StageError(f"{name} changed while it was copied")
        partial.rename(target)
        fsync_folder(target.parent)

    def _check(self, target: Path, bundle: Bundle) -> None:
        file = target / MANIFEST_FILE
        content = file.read_bytes() if file.is_file() else b""

        def intact(name: str, digest: str) -> bool:
            return (target / name).is_file() and sha256_file(target / name) == digest

        check_same(bundle, content, intact)


@dataclass(frozen=True, slots=True)
class BucketStore:
    """A prefix of a bucket: the manifest is uploaded last, and without it the artifact does not exist."""

    bucket: Bucket
    prefix: str

    def publish(self, bundle: Bundle) -> str:
        root = f"{self.prefix}{bundle.name}/"
        content = self.bucket.read(root + MANIFEST_FILE)
        if content is None:
            for name, file in bundle.files.items():
                self.bucket.upload(root + name, file, {SHA256: bundle.manifest.files.get(name) or sha256_file(file)})
        else:
            check_same(bundle, content, lambda name, digest: self._intact(root + name, digest))
        return Scheme.S3.uri(f"{self.bucket.name}/{root.rstrip('/')}")

    def _intact(self, key: str, digest: str) -> bool:
        metadata = self.bucket.metadata(key)
        return metadata is not None and metadata.get(SHA256) == digest


@dataclass(frozen=True, slots=True)
class RegistryStore:
    """A repository of a registry: a layer per file, then the manifest, tagged with the run's name."""

    access: RemoteAccess
    name: str
    """`<registry>/<repository>`."""

    def publish(self, bundle: Bundle) -> str:
        repository = Repository(self.access, self.name)
        published = repository.manifest(bundle.name)
        if published is None:
            digest = self._push(repository, bundle)
        else:
            manifest, digest = published
            annotations = manifest.get("annotations")
            stored = annotations.get(ADAPTER_DIGEST) if isinstance(annotations, dict) else None
            if stored != bundle.manifest.digest:
                raise conflict(bundle, str(stored))
        return Scheme.OCI.uri(f"{self.name}@{digest}")

    def _push(self, repository: Repository, bundle: Bundle) -> str:
        empty = Blob(f"sha256:{hashlib.sha256(oci.EMPTY).hexdigest()}", len(oci.EMPTY), oci.EMPTY_TYPE, None)
        repository.push(empty, io.BytesIO(oci.EMPTY))
        layers = []
        for name, file in bundle.files.items():
            digest = bundle.manifest.files.get(name) or sha256_file(file)
            layer = Blob(f"sha256:{digest}", file.stat().st_size, FILE_TYPE, name)
            with file.open("rb") as stream:
                repository.push(layer, stream)
            layers.append(layer.descriptor())
        return repository.tag(bundle.name, oci_manifest(bundle.manifest, empty, layers))


def oci_manifest(manifest: Manifest, config: Blob, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the OCI manifest of an adapter."""
    return {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": config.descriptor(),
        "layers": layers,
        "annotations": {
            ADAPTER_DIGEST: manifest.digest,
            BASE_DIGEST: manifest.base_digest,
            TEMPLATE_HASH: manifest.template_hash,
        },
    }


def check_same(bundle: Bundle, content: bytes, intact: Callable[[str, str], bool]) -> None:
    """Raise InvalidConfigError unless the stored manifest is of this run's adapter and each of its files is intact.

    `content` is the stored manifest; `intact` takes the name and the expected sha256 of a stored file.
    """
    try:
        stored = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise InvalidConfigError(
            f"{bundle.name} in the store has no readable {MANIFEST_FILE}; remove {bundle.name}"
        ) from error
    if stored.digest != bundle.manifest.digest:
        raise conflict(bundle, stored.digest)
    for name, digest in stored.files.items():
        if not intact(name, digest):
            raise InvalidConfigError(
                f"{bundle.name}/{name} in the store differs from {MANIFEST_FILE}; remove {bundle.name}"
            )


def conflict(bundle: Bundle, stored: str) -> InvalidConfigError:
    """Return the error for another adapter that is stored under this run's name."""
    return InvalidConfigError(
        f"{bundle.name} in the store holds adapter {stored}, but this run made {bundle.manifest.digest}: "
        "it is not overwritten"
    )
