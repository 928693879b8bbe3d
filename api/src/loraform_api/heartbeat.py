"""Heartbeats of gateways and agents to the operator, and its response, the route."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from loraform_api.meta import Sha256, WireModel
from loraform_api.verification import HousePolicy

HEARTBEAT_SECONDS = 3


class AdapterState(StrEnum):
    """State of an adapter in one engine; only `Ready` is served."""

    LOADING = "Loading"
    READY = "Ready"
    NOT_SERVABLE = "NotServable"
    TEMPLATE_MISMATCH = "TemplateMismatch"
    """Gateways: the version's prompt template is not that of the base model here."""


class LoadedAdapter(WireModel):
    digest: Sha256
    state: AdapterState
    message: Annotated[str, Field(max_length=512)] = ""


class Authentication(StrEnum):
    """What a gateway demands of its callers."""

    OPEN = "Open"
    """Nothing."""
    API_KEY = "ApiKey"
    """A key of the Secret in `spec.serving.apiKeySecretRef`."""


class Heartbeat(WireModel):
    """A message that each agent and gateway pod sends every `HEARTBEAT_SECONDS`."""

    role: Literal["agent", "gateway"]
    pod: Annotated[str, Field(max_length=253)]
    route_revision: str = ""
    """Revision of the route that the sender follows."""
    adapters: Annotated[list[LoadedAdapter], Field(max_length=64)] = []
    """Agents: state of each adapter of the route. Gateways: the live one, while its template does not fit."""
    counters: Annotated[dict[str, int], Field(max_length=64)] = {}
    """Gateways: totals since the pod's start, by `Counter`."""
    authentication: Authentication | None = None
    """Gateways: what they demand of callers."""
    problem: Annotated[str, Field(max_length=512)] = ""
    """Gateways: why no caller is answered, where only the user can help; empty when nothing is wrong."""


class Counter(StrEnum):
    """Names of a gateway's counters."""

    REQUESTS = "requests"
    ERRORS = "errors"
    VERIFIED_RAW = "verified_raw"
    """Answers that passed every check as the model wrote them."""
    VERIFIED_SERVED = "verified_served"
    """Answers that passed after the rewrite."""
    UNVERIFIED = "unverified"
    """Answers that failed a check, or whose request had `verify: off`."""


class RouteAdapter(WireModel):
    """An adapter to keep loaded; its name in the engine is `adapter_name(digest)`."""

    version: int
    digest: Sha256
    path: str
    """Folder in serving pods (`/mnt/store/<claim>/…`)."""
    template_hash: Sha256
    max_new_tokens: int
    """Most tokens of an answer in the version's evaluation; the default limit of its answers."""
    created: int
    """Unix time in seconds at which the version's run ended."""


class Route(WireModel):
    """The live adapter, and the adapters to keep loaded; also the ConfigMap's `route.json` for a cold start."""

    revision: str
    model: str
    """Name of the IaCModel, which is the model id in requests."""
    base_path: str
    """Folder of the base model in serving pods (`/mnt/base/…`)."""
    live: Sha256 | None = None
    """Digest of the adapter that answers; None until one has passed parity."""
    adapters: Annotated[list[RouteAdapter], Field(max_length=8)] = []
    """Adapters to keep loaded: the live one, and an accepted one that is to replace it."""
    policy: HousePolicy | None = None
    scaled_to_zero: bool = False
    """Whether the model should have no engine pod."""


def adapter_name(digest: str) -> str:
    """Return the name of an adapter in an engine."""
    return f"adapter-{digest[:16]}"
