"""Derives the route: which adapters engines load, and when the newest accepted one goes live. Pure.

    accepted -> in `adapters` -> every running agent reports it Ready (files, load, parity) -> `live`

The old version stays live until then, and for good when an agent reports NotServable.
"""

from __future__ import annotations

from loraform_api import names
from loraform_api.heartbeat import AdapterState, Route, RouteAdapter
from loraform_api.iacmodel import VersionRecord
from loraform_api.meta import parse_timestamp, split_claim_uri
from loraform_operator.iacmodel.observe import Observed, engine_refusal_of
from loraform_operator.settings import Settings


def derive_route(observed: Observed) -> Route | None:
    """Return the current route; None until a version that the engine can serve is accepted: nothing is deployed before.

    The live version stays on the route although the spec may have changed since.
    """
    live, target = observed.live, observed.target
    if target is not None and engine_refusal_of(observed, target):
        target = None
    if target is not None and can_be_live(observed, target):
        live = target
    versions = {v.artifact_digest: v for v in (live, target) if v is not None}
    if not versions:
        return None
    adapters = [_adapter(v) for v in versions.values()]
    route = Route(
        revision="",
        model=observed.model.metadata.name,
        base_path=base_path(next(iter(versions.values())).base_model_uri),
        live=live.artifact_digest if live else None,
        adapters=adapters,
        policy=observed.model.spec.policy,
        scaled_to_zero=observed.replicas == 0,
    )
    return route.model_copy(update={"revision": names.short_hash(route.model_dump_json(by_alias=True))})


def can_be_live(observed: Observed, version: VersionRecord) -> bool:
    """Say whether the version is live already, or every running engine pod is ready to serve it."""
    digest = version.artifact_digest
    if (observed.route and observed.route.live == digest) or observed.replicas == 0:
        return True
    states = [{a.digest: a.state for a in beat.adapters}.get(digest) for beat in observed.agents.values()]
    # After a restart of the operator agents report one by one: wait for all that are ready.
    running = ((observed.engine or {}).get("status") or {}).get("readyReplicas") or 0
    return len(states) >= max(1, running) and all(s is AdapterState.READY for s in states)


def poll_seconds(observed: Observed, settings: Settings) -> float | None:
    """Return the seconds until the next poll; None when watches and the usual resync suffice.

    No watch reports an agent that went silent, so poll while a version is loading.
    """
    loading = observed.target is not observed.live
    return float(settings.heartbeat_timeout_seconds) if loading else None


def base_path(uri: str) -> str:
    """Return the path of the base model in serving pods."""
    return f"{names.BASE_MOUNT}/{split_claim_uri(uri)[1]}".rstrip("/")


def store_path(uri: str) -> str:
    """Return the path of an artifact in serving pods."""
    claim, folder = split_claim_uri(uri)
    return f"{names.STORE_MOUNT}/{claim}/{folder}".rstrip("/")


def _adapter(version: VersionRecord) -> RouteAdapter:
    return RouteAdapter(
        version=version.version,
        digest=version.artifact_digest,
        path=store_path(version.artifact_uri),
        template_hash=version.template_hash,
        max_new_tokens=version.max_new_tokens,
        created=int(parse_timestamp(version.completion_time).timestamp()),
    )
