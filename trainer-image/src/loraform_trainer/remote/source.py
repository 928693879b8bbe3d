"""From a remote source of the spec to a file on this machine."""

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
from loraform_trainer.remote import archive, git, identity, oci
from loraform_trainer.remote.hub import HubKind, HubRepository
from loraform_trainer.remote.identity import Keys, Place
from loraform_trainer.remote.web import MAX_BYTES, Web
from loraform_trainer.runtime.errors import DatasetInvalidError, InvalidConfigError, MissingReferenceError

ENDINGS = (".jsonl", ".json", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Fetch:
    """How one remote source becomes a file."""

    label: str
    """The source, for messages."""
    folder: Path
    """Where its access files are mounted."""
    stem: Path
    """The file to be written, without its ending."""
    wait_seconds: float

    def file(self, source: DataSource, artifact: FluxArtifact | None) -> Path:
        """Return the fetched file; `artifact` is what a Flux source had when the run began. Raises StageError."""
        match source:
            case DataSource(http=HTTPSource() as at):
                return self._http(at)
            case DataSource(git=GitSource() as at):
                return self._git(at)
            case DataSource(s3=S3Source() as at):
                return self._s3(at)
            case DataSource(hugging_face=HuggingFaceSource() as at):
                return self._hugging_face(at)
            case DataSource(oci=OCISource() as at):
                return self._oci(at)
            case DataSource(flux_source=FluxSource() as at):
                return self._flux(at, artifact)
            case _:
                raise InvalidConfigError(f"{self.label}: exactly one of {', '.join(SOURCE_KINDS)} must be set")

    def _http(self, source: HTTPSource) -> Path:
        where = self._place("http.url", source, identity.LOGIN)
        target = self._target(urlsplit(source.url).path)
        bearer = f"Bearer {token}" if (token := where.values.get("token")) else None
        basic = None if where.basic is None else f"Basic {where.basic}"
        saved = Web(where).save(source.url, target, authorization=bearer or basic)
        _check(where, source.url, saved.sha256, source.sha256)
        return target

    def _git(self, source: GitSource) -> Path:
        target = self._target(source.path)
        git.read_file(self._place("git.url", source, identity.LOGIN), source.url, source.commit, source.path, target)
        return target

    def _s3(self, source: S3Source) -> Path:
        from loraform_trainer.remote.s3 import Bucket  # noqa: PLC0415 (boto3 takes a third of a second)

        where = self._place("s3", source, identity.S3_KEYS)
        target = self._target(source.key)
        version = {} if source.version_id is None else {"VersionId": source.version_id}
        saved = Bucket(where, source, source.bucket).save(source.key, target, max_bytes=MAX_BYTES, **version)
        _check(where, Scheme.S3.uri(f"{source.bucket}/{source.key}"), saved.sha256, source.sha256)
        return target

    def _hugging_face(self, source: HuggingFaceSource) -> Path:
        where = self._place("huggingFace", source, identity.BEARER)
        target = self._target(source.path)
        repository = HubRepository(where, HubKind.DATASET, source.repo, source.revision, source.endpoint)
        repository.save(source.path, target, MAX_BYTES)
        return target

    def _oci(self, source: OCISource) -> Path:
        target = self._target(source.path)
        oci.fetch(self._place("oci.reference", source, identity.LOGIN), source.reference, source.path, target)
        return target

    def _flux(self, source: FluxSource, artifact: FluxArtifact | None) -> Path:
        where = Place(f"{self.label}, fluxSource", DatasetInvalidError)
        name = f"{source.kind} {source.name!r}"
        if artifact is None:
            raise MissingReferenceError(f"{where.field}: {name} had no artifact when the run began")
        target, packed = self._target(source.path), self.stem.with_name(f"{self.stem.name}.tar.gz")
        saved = Web(where, plain=True).save(artifact.url, packed)
        _check(where, artifact.url, saved.sha256, artifact.digest)
        if not archive.extract(packed, source.path, target, where):
            raise MissingReferenceError(
                f"{where.field}: the artifact of {name} at {artifact.revision} has no file {source.path}"
            )
        packed.unlink()
        return target

    def _place(self, kind: str, access: Access, keys: Keys) -> Place:
        return identity.read(self.folder, access, f"{self.label}, {kind}", DatasetInvalidError, keys, self.wait_seconds)

    def _target(self, name: str) -> Path:
        ending = PurePosixPath(name).suffix.lower()
        return self.stem.with_name(self.stem.name + (ending if ending in ENDINGS else ".jsonl"))


def _check(where: Place, what: str, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise DatasetInvalidError(f"{where.field}: {what} has sha256 {found}, but the source says {expected}")
