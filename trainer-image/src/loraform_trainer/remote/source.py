"""Downloads the file of a remote source of the spec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from loraform_api.meta import Scheme
from loraform_api.run import FluxArtifact
from loraform_api.sources import (
    SOURCE_KINDS,
    Access,
    DataSource,
    FluxSource,
    GitSource,
    HTTPSource,
    HuggingFaceSource,
    OCISource,
    S3Source,
)
from loraform_trainer.remote import archive, git, oci
from loraform_trainer.remote.access import BEARER, LOGIN, S3_KEYS, Keys, RemoteAccess, read_access
from loraform_trainer.remote.hub import HubKind, HubRepository
from loraform_trainer.remote.web import MAX_BYTES, HTTPClient
from loraform_trainer.runtime.errors import DatasetInvalidError, InvalidConfigError, MissingReferenceError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class SourceDownload:
    """Downloads the file of one remote source."""

    label: str
    """Name of the source in messages."""
    folder: Path
    """Folder where its Secret and ConfigMap are mounted."""
    stem: Path
    """Path of the file to write, without its suffix."""
    wait_seconds: float
    """Longest wait for the mounted files."""

    def fetch(self, source: DataSource, artifact: FluxArtifact | None) -> Path:
        """Return the downloaded file; raises StageError.

        `artifact` is the artifact that a Flux source had when the run began.
        """
        match source:
            case DataSource(http=HTTPSource() as location):
                return self._http(location)
            case DataSource(git=GitSource() as location):
                return self._git(location)
            case DataSource(s3=S3Source() as location):
                return self._s3(location)
            case DataSource(hugging_face=HuggingFaceSource() as location):
                return self._hugging_face(location)
            case DataSource(oci=OCISource() as location):
                return self._oci(location)
            case DataSource(flux_source=FluxSource() as location):
                return self._flux_source(location, artifact)
            case _:
                raise InvalidConfigError(f"{self.label}: exactly one of {', '.join(SOURCE_KINDS)} must be set")

    def _http(self, source: HTTPSource) -> Path:
        access = self._access("http.url", source, LOGIN)
        target = self._target(urlsplit(source.url).path)
        bearer = f"Bearer {token}" if (token := access.values.get("token")) else None
        basic = None if access.basic is None else f"Basic {access.basic}"
        saved = HTTPClient(access).save(source.url, target, authorization=bearer or basic)
        _check_digest(access, source.url, saved.sha256, source.sha256)
        return target

    def _git(self, source: GitSource) -> Path:
        target = self._target(source.path)
        git.read_file(self._access("git.url", source, LOGIN), source.url, source.commit, source.path, target)
        return target

    def _s3(self, source: S3Source) -> Path:
        from loraform_trainer.remote.s3 import Bucket  # noqa: PLC0415 (boto3 takes a third of a second)

        access = self._access("s3", source, S3_KEYS)
        target = self._target(source.key)
        version = {} if source.version_id is None else {"VersionId": source.version_id}
        saved = Bucket(access, source, source.bucket).save(source.key, target, max_bytes=MAX_BYTES, **version)
        _check_digest(access, Scheme.S3.uri(f"{source.bucket}/{source.key}"), saved.sha256, source.sha256)
        return target

    def _hugging_face(self, source: HuggingFaceSource) -> Path:
        access = self._access("huggingFace", source, BEARER)
        target = self._target(source.path)
        repository = HubRepository(access, HubKind.DATASET, source.repo, source.revision, source.endpoint)
        repository.save(source.path, target, MAX_BYTES)
        return target

    def _oci(self, source: OCISource) -> Path:
        target = self._target(source.path)
        oci.fetch(self._access("oci.reference", source, LOGIN), source.reference, source.path, target)
        return target

    def _flux_source(self, source: FluxSource, artifact: FluxArtifact | None) -> Path:
        access = RemoteAccess(f"{self.label}, fluxSource", DatasetInvalidError)
        flux_source = f"{source.kind} {source.name!r}"
        if artifact is None:
            raise MissingReferenceError(f"{access.field}: {flux_source} had no artifact when the run began")
        target, packed = self._target(source.path), self.stem.with_name(f"{self.stem.name}.tar.gz")
        saved = HTTPClient(access, plain=True).save(artifact.url, packed)
        _check_digest(access, artifact.url, saved.sha256, artifact.digest)
        if not archive.extract(packed, source.path, target, access):
            raise MissingReferenceError(
                f"{access.field}: the artifact of {flux_source} at {artifact.revision} has no file {source.path}"
            )
        packed.unlink()
        return target

    def _access(self, kind: str, references: Access, keys: Keys) -> RemoteAccess:
        field = f"{self.label}, {kind}"
        return read_access(self.folder, references, field, DatasetInvalidError, keys, self.wait_seconds)

    def _target(self, name: str) -> Path:
        suffix = PurePosixPath(name).suffix.lower()
        return self.stem.with_name(self.stem.name + (suffix if suffix in SUFFIXES else ".jsonl"))


def _check_digest(access: RemoteAccess, url: str, digest: str, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise DatasetInvalidError(f"{access.field}: {url} has sha256 {digest}, but the source says {expected}")
