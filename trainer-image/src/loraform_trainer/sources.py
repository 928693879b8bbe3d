"""From a named source of the spec to a file on this machine; and whether policy packs are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from loraform_api.names import PACK_FILE
from loraform_api.run import FluxArtifact
from loraform_api.sources import (
    PLACES,
    Access,
    ClaimSource,
    ConfigMapSource,
    DataSource,
    FluxSource,
    GitSource,
    HTTPSource,
    HuggingFaceSource,
    OCISource,
    S3Source,
)
from loraform_trainer.context import Context
from loraform_trainer.errors import DatasetInvalidError, InvalidConfigError, MissingReferenceError
from loraform_trainer.mounts import mounted
from loraform_trainer.remote import archive, git, oci, place
from loraform_trainer.remote.hub import HubKind, HubRepository
from loraform_trainer.remote.place import Keys, Place
from loraform_trainer.remote.s3 import Bucket
from loraform_trainer.remote.web import MAX_BYTES, Web

ENDINGS = (".jsonl", ".json", ".csv", ".parquet")


def fetch(context: Context, source: DataSource, mount: Path, field: str) -> Path:
    """Return the file of `source`, fetched when it is remote; its name ends as the source's own does.

    `field` names the list in messages (`dataset.sources`); `mount` is the folder of this list's mounts, and the
    source's own has its name. Raises StageError.
    """
    label = f"source {source.name!r} of {field}"
    folder, wait = mount / source.name, context.mount_wait_seconds
    fetched = _Fetch(label, folder, context.paths.downloads / f"{field}.{source.name}", wait)
    match source:
        case DataSource(config_map=ConfigMapSource() as at):
            path = mounted(folder, at.key, f"{label}: ConfigMap {at.name!r} with key {at.key!r}", wait)
        case DataSource(persistent_volume_claim=ClaimSource() as at):
            what = f"{label}: file {at.path!r} in PersistentVolumeClaim {at.claim_name!r}"
            path = mounted(folder, at.path, what, wait)
        case DataSource(http=HTTPSource() as at):
            path = fetched.http(at)
        case DataSource(git=GitSource() as at):
            path = fetched.git(at)
        case DataSource(s3=S3Source() as at):
            path = fetched.s3(at)
        case DataSource(hugging_face=HuggingFaceSource() as at):
            path = fetched.hugging_face(at)
        case DataSource(oci=OCISource() as at):
            path = fetched.oci(at)
        case DataSource(flux_source=FluxSource() as at):
            path = fetched.flux(at, context.config.flux.get(f"{field.rpartition('.')[2]}/{source.name}"))
        case _:
            raise InvalidConfigError(f"{label}: exactly one of {', '.join(PLACES)} must be set")
    return path


@dataclass(frozen=True, slots=True)
class _Fetch:
    """How one remote source becomes a file."""

    label: str
    folder: Path
    """Where its access files are mounted."""
    stem: Path
    """The file to be written, without its ending."""
    wait_seconds: float

    def http(self, source: HTTPSource) -> Path:
        where = self._place("http.url", source, place.LOGIN)
        target = self._target(urlsplit(source.url).path)
        bearer = f"Bearer {token}" if (token := where.values.get("token")) else None
        basic = None if where.basic is None else f"Basic {where.basic}"
        saved = Web(where).save(source.url, target, authorization=bearer or basic)
        _check(where, source.url, saved.sha256, source.sha256)
        return target

    def git(self, source: GitSource) -> Path:
        target = self._target(source.path)
        git.read_file(self._place("git.url", source, place.LOGIN), source.url, source.commit, source.path, target)
        return target

    def s3(self, source: S3Source) -> Path:
        where = self._place("s3", source, place.S3_KEYS)
        target = self._target(source.key)
        version = {} if source.version_id is None else {"VersionId": source.version_id}
        saved = Bucket(where, source, source.bucket).save(source.key, target, max_bytes=MAX_BYTES, **version)
        _check(where, f"s3://{source.bucket}/{source.key}", saved.sha256, source.sha256)
        return target

    def hugging_face(self, source: HuggingFaceSource) -> Path:
        where = self._place("huggingFace", source, place.BEARER)
        target = self._target(source.path)
        repository = HubRepository(where, HubKind.DATASET, source.repo, source.revision, source.endpoint)
        repository.save(source.path, target, MAX_BYTES)
        return target

    def oci(self, source: OCISource) -> Path:
        target = self._target(source.path)
        oci.fetch(self._place("oci.reference", source, place.LOGIN), source.reference, source.path, target)
        return target

    def flux(self, source: FluxSource, artifact: FluxArtifact | None) -> Path:
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
        return place.read(self.folder, access, f"{self.label}, {kind}", DatasetInvalidError, keys, self.wait_seconds)

    def _target(self, name: str) -> Path:
        ending = PurePosixPath(name).suffix.lower()
        return self.stem.with_name(self.stem.name + (ending if ending in ENDINGS else ".jsonl"))


def _check(where: Place, what: str, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise DatasetInvalidError(f"{where.field}: {what} has sha256 {found}, but the source says {expected}")


def check_packs(context: Context) -> None:
    """Raise MissingReferenceError for a policy pack that the verifier would not find."""
    policy = context.config.policy
    for pack in policy.packs if policy else ():
        reference = pack.config_map
        what = f"pack {pack.name!r} of policy.packs: ConfigMap {reference.name!r} with key {reference.key!r}"
        mounted(context.paths.packs_mount / pack.name, PACK_FILE, what, context.mount_wait_seconds)
