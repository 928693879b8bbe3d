"""Opens remote base models; a module of its own because a model on a claim needs no clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loraform_api.finetunejob import BaseModelSpec
from loraform_api.meta import Scheme, split_uri
from loraform_trainer.prepare.basemodel.origins import Origin, RemoteFile
from loraform_trainer.remote.access import BEARER, LOGIN, S3_KEYS, read_access
from loraform_trainer.remote.hub import HubKind, HubRepository
from loraform_trainer.remote.oci import Blob, Repository
from loraform_trainer.runtime.errors import BaseModelInvalidError, InvalidConfigError
from loraform_trainer.runtime.model_files import FIELD

if TYPE_CHECKING:
    from loraform_trainer.remote.s3 import Bucket


def open_origin(spec: BaseModelSpec, access_folder: Path, wait_seconds: float) -> Origin:
    """Return the origin of a base model that is not on a claim; its access files are mounted in `access_folder`.

    Raises StageError.
    """
    scheme, rest = split_uri(spec.storage_uri)
    keys = {Scheme.HF: BEARER, Scheme.S3: S3_KEYS}.get(scheme, LOGIN)
    access = read_access(access_folder, spec, FIELD, BaseModelInvalidError, keys, wait_seconds)
    if scheme is Scheme.HF:
        if spec.revision is None:
            raise InvalidConfigError("spec.baseModel.revision: `hf://` needs the full commit hash")
        endpoint = {} if spec.endpoint is None else {"endpoint": spec.endpoint}
        return _Hub(HubRepository(access, HubKind.MODEL, rest, spec.revision, **endpoint), spec.revision)
    if scheme is Scheme.S3:
        from loraform_trainer.remote.s3 import Bucket  # noqa: PLC0415 (boto3 takes a third of a second)

        bucket, _, prefix = rest.partition("/")
        return _S3(Bucket(access, spec, bucket), f"{prefix.rstrip('/')}/" if prefix else "")
    name, _, digest = rest.partition("@")
    return _OCI(Repository(access, name), digest)


@dataclass(frozen=True, slots=True)
class _Hub:
    repository: HubRepository
    revision: str

    def files(self) -> Sequence[RemoteFile]:
        return [RemoteFile(f.path, f.size, self.revision, f.sha256) for f in self.repository.list()]

    def save(self, file: RemoteFile, target: Path) -> str:
        return self.repository.save(file.name, target, file.size).sha256


@dataclass(frozen=True, slots=True)
class _S3:
    bucket: Bucket
    prefix: str

    def files(self) -> Sequence[RemoteFile]:
        return [RemoteFile(o.key.removeprefix(self.prefix), o.size, o.etag) for o in self.bucket.list(self.prefix)]

    def save(self, file: RemoteFile, target: Path) -> str:
        key = f"{self.prefix}{file.name}"
        return self.bucket.save(key, target, max_bytes=file.size, IfMatch=file.version).sha256


@dataclass(frozen=True, slots=True)
class _OCI:
    repository: Repository
    digest: str

    def files(self) -> Sequence[RemoteFile]:
        layers = (blob for blob in self.repository.layers(self.digest) if blob.title)
        return [RemoteFile(str(b.title), b.size, b.digest, b.digest.removeprefix("sha256:")) for b in layers]

    def save(self, file: RemoteFile, target: Path) -> str:
        return self.repository.pull(Blob(file.version, file.size, "", file.name), target, file.size)
