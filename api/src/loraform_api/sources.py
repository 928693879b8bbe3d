"""Sources of rows that a spec can name, each pinned to fixed content."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from loraform_api.meta import ApiModel, LocalReference, Name, ObjectName, RelativePath, Sha256, rule

HUGGING_FACE = "https://huggingface.co"
"""The public hub."""
HttpsUrl = Annotated[str, Field(max_length=2048, pattern=r"^https://[^\s]+$")]


class Access(ApiModel):
    """Credentials for a remote server, and the CA to trust."""

    secret_ref: LocalReference | None = None
    """Secret with some of the keys `token`, `username`, `password`, `accessKeyId`, `secretAccessKey`, `sessionToken`;
    absent: no credentials are sent."""
    ca_config_map_ref: LocalReference | None = None
    """ConfigMap whose key `ca.crt` holds the CA certificates to trust instead of the public ones."""


class HTTPSource(Access):
    url: HttpsUrl
    """https URL of a file."""
    sha256: Sha256
    """SHA-256 that the downloaded file must have."""


class GitSource(Access):
    url: HttpsUrl
    """https URL of a git repository."""
    commit: Annotated[str, Field(max_length=40, pattern=r"^[0-9a-f]{40}$")]
    """Full commit hash to read."""
    path: RelativePath
    """Path of a file in the repository."""


class S3Location(ApiModel):
    """Server of an `s3://` bucket."""

    endpoint: Annotated[str, Field(max_length=512, pattern=r"^https?://[^\s/]+$")] | None = None
    """URL of the S3 server; absent: that of AWS in `region`."""
    region: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")] = "us-east-1"
    """Region for which requests are signed."""


class S3Source(Access, S3Location):
    model_config = {
        "json_schema_extra": {
            "x-kubernetes-validations": [
                rule(
                    "has(self.sha256) || has(self.versionId)",
                    "`sha256` or `versionId` must be set, so that the content is fixed",
                )
            ]
        }
    }

    bucket: Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]+[a-z0-9]$")]
    key: Annotated[str, Field(min_length=1, max_length=1024)]
    """Key of the object."""
    version_id: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Version of the object to read."""
    sha256: Sha256 | None = None
    """SHA-256 that the object must have."""


class HuggingFaceSource(Access):
    repo: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
    """Name of a dataset repository, `<owner>/<name>`."""
    revision: Annotated[str, Field(max_length=40, pattern=r"^[0-9a-f]{40}$")]
    """Full commit hash to read."""
    path: RelativePath
    """Path of a file in the repository."""
    endpoint: Annotated[str, Field(max_length=512, pattern=r"^https://[^\s/]+$")] = HUGGING_FACE
    """URL of the hub."""


class OCISource(Access):
    reference: Annotated[
        str,
        Field(
            max_length=512,
            pattern=r"^[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}$",
            json_schema_extra={
                "x-kubernetes-validations": [
                    rule("self.contains('@sha256:')", "must name its digest: `<registry>/<repository>@sha256:<digest>`")
                ]
            },
        ),
    ]
    """An artifact in a registry, `<registry>/<repository>@sha256:<digest>`."""
    path: RelativePath
    """Title of the file's layer, or path of the file in a `tar+gzip` layer."""


class FluxKind(StrEnum):
    GIT_REPOSITORY = "GitRepository"
    OCI_REPOSITORY = "OCIRepository"
    BUCKET = "Bucket"


class FluxSource(ApiModel):
    kind: FluxKind
    """Kind of a Flux source in the same namespace."""
    name: ObjectName
    """Name of that object. The run reads the artifact that it has when the run begins."""
    path: RelativePath
    """Path of a file in the artifact."""


class ConfigMapSource(ApiModel):
    name: ObjectName
    """Name of a ConfigMap in the same namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key whose value is the file's text."""


class ClaimSource(ApiModel):
    claim_name: ObjectName
    """Name of a PersistentVolumeClaim in the same namespace."""
    path: RelativePath
    """Path of a file in the volume."""


SOURCE_KINDS = ("http", "git", "s3", "huggingFace", "oci", "fluxSource", "configMap", "persistentVolumeClaim")
ONE_OF = rule(
    f"[{', '.join(f'has(self.{kind})' for kind in SOURCE_KINDS)}].filter(x, x).size() == 1",
    f"exactly one of {', '.join(f'`{kind}`' for kind in SOURCE_KINDS[:-1])} and `{SOURCE_KINDS[-1]}` must be set",
)


class FileFormat(StrEnum):
    JSONL = "JSONL"
    JSON = "JSON"
    CSV = "CSV"
    PARQUET = "Parquet"


class DataSource(ApiModel):
    """A named file of rows, with exactly one kind of source."""

    model_config = {"json_schema_extra": {"x-kubernetes-validations": [ONE_OF]}}

    name: Name
    """Name of this source, unique in its list."""
    http: HTTPSource | None = None
    """A file at an https URL with a known digest."""
    git: GitSource | None = None
    """A file in a git repository at a fixed commit."""
    s3: S3Source | None = None
    """An object in an S3 bucket."""
    hugging_face: HuggingFaceSource | None = None
    """A file in a Hugging Face dataset repository at a fixed commit."""
    oci: OCISource | None = None
    """A file in an OCI artifact."""
    flux_source: FluxSource | None = None
    """A file in the artifact of a Flux source."""
    config_map: ConfigMapSource | None = None
    """A key of a ConfigMap."""
    persistent_volume_claim: ClaimSource | None = None
    """A file in a volume."""
    file_format: FileFormat | None = None
    """Format of the file; absent: by its extension (`.jsonl`, `.json`, `.csv`, `.parquet`), otherwise `JSONL`."""

    @property
    def access(self) -> Access | None:
        """Credentials and CA of a remote source; None for a local one."""
        return next((value for _, value in self if isinstance(value, Access)), None)
