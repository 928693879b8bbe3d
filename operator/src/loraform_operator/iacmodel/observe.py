"""Observes a model: its objects and candidates from the indexes, and the heartbeats of its agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from loraform_api import names
from loraform_api.finetunejob import FineTuneJob
from loraform_api.heartbeat import AdapterState, Heartbeat, Route
from loraform_api.iacmodel import Decision, IaCModel, VersionRecord
from loraform_api.names import Kind
from loraform_operator.context import Context, Key
from loraform_operator.iacmodel.engine_policies import engine_refusal
from loraform_operator.iacmodel.versions import newest_accepted, read_versions, undecided
from loraform_operator.kube.children import is_owned
from loraform_operator.kube.errors import InvalidSpec
from loraform_operator.kube.objects import Object
from loraform_operator.kube.resource import read_resource
from loraform_operator.settings import Profile, Settings, unknown_profile


@dataclass(frozen=True)
class Observed:
    """Everything that decisions, route, plan and status of a model are derived from."""

    model: IaCModel
    profile: Profile
    """The profile in `spec.serving.placement`."""
    children: tuple[Object, ...] = ()
    """Objects that the model owns."""
    route: Route | None = None
    """The current route; it determines which version is live."""
    versions: tuple[VersionRecord, ...] = ()
    """Newest first."""
    candidates: tuple[FineTuneJob, ...] = ()
    """Succeeded jobs of this model without a version, in order of completion."""
    agents: Mapping[str, Heartbeat] = field(default_factory=dict)
    """Current heartbeats of agents, by pod uid."""
    gateways: Mapping[str, Heartbeat] = field(default_factory=dict)
    """Current heartbeats of gateways, by pod uid."""
    refused: str = ""
    """The API server's message about an object that it refused in this reconcile; empty when it refused none."""

    @property
    def live(self) -> VersionRecord | None:
        """The version whose adapter the route marks as live."""
        digest = self.route.live if self.route else None
        versions = [v for v in self.versions if digest is not None and v.artifact_digest == digest]
        return newest_accepted(versions) or next(iter(versions), None)

    @property
    def target(self) -> VersionRecord | None:
        """The version that should be live: the newest accepted one."""
        return newest_accepted(self.versions)

    def child(self, kind: str, name: str) -> Object | None:
        """Return the owned object of that kind and name, or None."""
        return next((c for c in self.children if c["kind"] == kind and c["metadata"]["name"] == name), None)

    @property
    def engine(self) -> Object | None:
        return self.child("Deployment", names.engine_name(self.model.metadata.name))

    @property
    def gateway(self) -> Object | None:
        return self.child("Deployment", names.gateway_name(self.model.metadata.name))

    @property
    def replicas(self) -> int:
        """Desired engine pods: from the spec, else from the Deployment, which an autoscaler may scale."""
        specified = self.model.spec.serving.replicas
        scaled = self.engine["spec"].get("replicas") if self.engine else None
        return next((n for n in (specified, scaled) if n is not None), 1)


def read_model(body: Object, settings: Settings) -> IaCModel:
    """Parse an IaCModel; raises `InvalidSpec` that names the field, also for an unknown profile."""
    model = read_resource(IaCModel, body)
    message = unknown_profile(settings, "spec.serving.placement.profile", model.spec.serving.placement.profile)
    if message:
        raise InvalidSpec(message)
    return model


async def observe(ctx: Context, key: Key, model: IaCModel) -> Observed:
    """Observe a model; raises `ClusterError`, and `InvalidSpec` when a version's record is unreadable."""
    children = tuple(c for c in ctx.cache.owned(key) if is_owned(c, model.metadata.uid))
    pods = {c["metadata"]["uid"] for c in children if c["kind"] == "Pod"}
    ctx.heartbeats.keep_pods((key.namespace, key.name), pods)
    observed = _observed(ctx, key, model, children)
    if not observed.candidates:
        return observed
    # A decision is final, so it is based on the API server and not on an index that may be outdated.
    selector = f"{names.LABEL_OWNER_UID}={model.metadata.uid}"
    revisions = await ctx.cluster.list("ControllerRevision", key.namespace, labels=selector)
    route = await ctx.cluster.get("ConfigMap", key.namespace, names.route_name(key.name))
    others = [c for c in children if c["kind"] != "ControllerRevision" and not _is_route(c, key.name)]
    return _observed(ctx, key, model, (*others, *revisions, *([_with_kind(route, "ConfigMap")] if route else [])))


def _observed(ctx: Context, key: Key, model: IaCModel, children: tuple[Object, ...]) -> Observed:
    versions = read_versions(c for c in children if c["kind"] == "ControllerRevision")
    written = ctx.routes.get((key.namespace, key.name))  # newer than the index
    route = written or next((read_route(c) for c in children if _is_route(c, key.name)), None)
    return Observed(
        model=model,
        profile=ctx.settings.profiles[model.spec.serving.placement.profile],
        children=children,
        route=route,
        versions=versions,
        candidates=tuple(undecided(_jobs(ctx, key), versions, key.name, route.live if route else None)),
        agents=ctx.heartbeats.agents((key.namespace, key.name), ctx.clock()),
        gateways=ctx.heartbeats.gateways((key.namespace, key.name), ctx.clock()),
    )


def read_route(config_map: Object) -> Route | None:
    """Return the route in its ConfigMap; None when it is unreadable, and is then written again."""
    try:
        return Route.model_validate_json((config_map.get("data") or {}).get(names.ROUTE_FILE, ""))
    except ValidationError:
        return None


def engine_refusal_of(observed: Observed, version: VersionRecord) -> str:
    """Return why the engine that the spec asks for cannot serve the version; empty when it can."""
    return engine_refusal(version, observed.model.spec.serving, observed.profile)


def not_servable(observed: Observed, version: VersionRecord) -> str:
    """Return why the engine cannot serve the version, by its spec or by an agent's report; empty when it can."""
    return engine_refusal_of(observed, version) or _reported(observed.agents, version, AdapterState.NOT_SERVABLE)


def template_mismatch(observed: Observed, version: VersionRecord) -> str:
    """Return a gateway's report that the version's prompt template is not the base model's; empty without one."""
    return _reported(observed.gateways, version, AdapterState.TEMPLATE_MISMATCH)


def _reported(beats: Mapping[str, Heartbeat], version: VersionRecord, state: AdapterState) -> str:
    reports = (a for beat in beats.values() for a in beat.adapters if a.digest == version.artifact_digest)
    return next((a.message or state.value for a in reports if a.state is state), "")


def accepted_records(observed: Observed) -> list[VersionRecord]:
    """Return the accepted versions, newest first."""
    return [v for v in observed.versions if v.decision is Decision.ACCEPTED]


def _jobs(ctx: Context, key: Key) -> list[FineTuneJob]:
    """Return the valid FineTuneJobs of the namespace that name this model."""
    jobs = []
    for other, body in ctx.cache.all(Kind.FINE_TUNE_JOB):
        named = ((body.get("spec") or {}).get("modelRef") or {}).get("name") == key.name
        if other.namespace == key.namespace and named and body.get("status"):
            try:
                jobs.append(FineTuneJob.model_validate(body))
            except ValidationError:
                continue
    return jobs


def _is_route(child: Object, model: str) -> bool:
    return bool(child["kind"] == "ConfigMap" and child["metadata"]["name"] == names.route_name(model))


def _with_kind(obj: Object, kind: str) -> Object:
    return {"kind": kind, **obj}
