"""Base models, field types and conditions shared by both kinds."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict


class ApiModel(BaseModel):
    """A part of a custom resource, in camelCase.

    Unknown fields are ignored, so that an older operator can read objects of a newer CRD.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
    )


class WireModel(BaseModel):
    """A message between processes of one version, in camelCase. Unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
    )


def rule(rule: str, message: str, *, reason: str = "FieldValueInvalid", field_path: str | None = None) -> JsonDict:
    """Return one `x-kubernetes-validations` entry."""
    entry: JsonDict = {"rule": rule, "message": message, "reason": reason}
    return entry if field_path is None else {**entry, "fieldPath": field_path}


def keyed_by(field: str) -> JsonDict:
    """Return the keys of a list map whose items are identified by `field`, so that server-side apply merges by item."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""An RFC 1123 DNS label."""

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""Name of a Secret, ConfigMap or claim in the same namespace."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]

DECIMAL = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"
DecimalString = Annotated[
    str,
    Field(
        pattern=DECIMAL,
        max_length=24,
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(  # a CEL string escapes the backslash
                    "self.matches('" + DECIMAL.replace("\\", "\\\\") + "')",
                    "must be a number written as text, for example '2e-4'",
                )
            ]
        },
    ),
]
"""A non-negative decimal as text (specs hold no floats), for example `2e-4`."""

SignedDecimalString = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$", max_length=16)]
"""A decimal of either sign as text, for example `-0.0123`."""

RateString = Annotated[str, Field(pattern=r"^(0(\.[0-9]+)?|1(\.0+)?)$", max_length=12)]
"""A rate from 0 to 1 as text, for example `0.95`."""


class Scheme(StrEnum):
    """Schemes of the URIs at which models and adapters are stored."""

    PVC = "pvc"
    HF = "hf"
    S3 = "s3"
    OCI = "oci"

    def uri(self, rest: str) -> str:
        """Return the URI of this scheme that continues with `rest`."""
        return f"{self}://{rest}"


_FOLDER = r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)*/?"
_PVC = Scheme.PVC.uri(rf"[a-z0-9]([-a-z0-9.]*[a-z0-9])?{_FOLDER}")
_S3 = Scheme.S3.uri(rf"[a-z0-9][a-z0-9.-]+[a-z0-9]{_FOLDER}")
_HF = Scheme.HF.uri(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_OCI = Scheme.OCI.uri(r"[a-z0-9][a-z0-9.-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+")

PvcUri = Annotated[
    str,
    Field(
        max_length=1024,
        pattern=f"^{_PVC}$",
        json_schema_extra={
            "x-kubernetes-validations": [
                rule("self.startsWith('pvc://')", "must be `pvc://<claim>/<folder>`: 'pvc' is the only scheme"),
                rule("!self.contains('..')", "must not contain '..'"),
            ]
        },
    ),
]
"""`pvc://<claim>/<folder>`: a PersistentVolumeClaim of the same namespace and a folder in it."""


def _uri(pattern: str, *schemes: Scheme) -> Any:
    starts = " || ".join(f"self.startsWith('{scheme}://')" for scheme in schemes)
    allowed = ", ".join(f"'{scheme}'" for scheme in schemes)
    return Field(
        max_length=1024,
        pattern=pattern,
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(starts, f"must begin with a known scheme: {allowed}"),
                rule("!self.contains('..')", "must not contain '..'"),
            ]
        },
    )


ModelUri = Annotated[
    str, _uri(rf"^({_PVC}|{_HF}|{_S3}|{_OCI}@sha256:[0-9a-f]{{64}})$", Scheme.PVC, Scheme.HF, Scheme.S3, Scheme.OCI)
]
"""URI of a base model."""

ArtifactUri = Annotated[
    str, _uri(rf"^({_PVC}|{_S3}|{_OCI}(@sha256:[0-9a-f]{{64}})?)$", Scheme.PVC, Scheme.S3, Scheme.OCI)
]
"""URI of a store for adapters, or of one adapter."""

RelativePath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$",
        json_schema_extra={"x-kubernetes-validations": [rule("!self.contains('..')", "must not contain '..'")]},
    ),
]


class LocalReference(ApiModel):
    name: ObjectName
    """Name of an object in the same namespace."""


class ObjectMeta(ApiModel):
    """The fields of Kubernetes metadata that are read."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    creation_timestamp: str


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class PromptTemplate(StrEnum):
    """`Instruction` is the prompt template of training and serving; `Chat` is the base model's own chat template."""

    INSTRUCTION = "Instruction"
    CHAT = "Chat"


class Condition(ApiModel):
    """A condition in the standard Kubernetes form."""

    type: Annotated[str, Field(max_length=63)]
    status: Literal["True", "False", "Unknown"]
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = 0
    last_transition_time: Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
    reason: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$")]
    message: Annotated[str, Field(max_length=4096)] = ""


def timestamp(now: datetime) -> str:
    """Format `now` as Kubernetes does: RFC 3339, UTC, whole seconds."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """Parse an RFC 3339 time; raises ValueError when `text` is not one."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def merge_conditions(old: list[Condition], new: list[Condition]) -> list[Condition]:
    """Return `new` with the old transition time of each condition whose status did not change."""
    before = {c.type: c for c in old}
    merged = []
    for condition in new:
        known = before.get(condition.type)
        if known is not None and known.status == condition.status:
            condition = condition.model_copy(update={"last_transition_time": known.last_transition_time})  # noqa: PLW2901 (intended)
        merged.append(condition)
    return merged


def find_condition(conditions: list[Condition], type_: str) -> Condition | None:
    """Return the condition of that type, or None."""
    return next((c for c in conditions if c.type == type_), None)


def split_uri(uri: str) -> tuple[Scheme, str]:
    """Return scheme and rest of a storage URI; raises ValueError for an unknown scheme."""
    scheme, _, rest = uri.partition("://")
    return Scheme(scheme), rest


def is_claim_uri(uri: str) -> bool:
    """Return whether a storage URI names a PersistentVolumeClaim."""
    return uri.startswith(Scheme.PVC.uri(""))


def split_claim_uri(uri: str) -> tuple[str, str]:
    """Return claim and folder of a `pvc://` URI; the folder has no slash at either end and may be empty."""
    claim, _, folder = uri.removeprefix(Scheme.PVC.uri("")).partition("/")
    return claim, folder.strip("/")
