"""Plans the objects that serve a model. Pure.

Pod templates depend on the base, the claims of accepted versions, profile and placement, but not on the live adapter: a
new version is loaded into running engines, and only the route changes. Nor do they depend on the operator's address.
"""

from __future__ import annotations

from loraform_api import names
from loraform_api.finetunejob import PlacementSpec
from loraform_api.heartbeat import Route
from loraform_api.iacmodel import IaCModel, VersionRecord
from loraform_api.meta import split_claim_uri
from loraform_api.names import Kind
from loraform_operator.context import Endpoint
from loraform_operator.iacmodel.gateway_options import ServicePort, arguments, mounts, service_port, volumes
from loraform_operator.iacmodel.observe import Observed, accepted_records, engine_refusal_of
from loraform_operator.iacmodel.versions import expired, revision_name
from loraform_operator.kube.apply import Plan
from loraform_operator.kube.children import child, child_labels
from loraform_operator.kube.objects import Object
from loraform_operator.pods.draining import after_end_of
from loraform_operator.pods.engine import decide_engine, engine_container
from loraform_operator.pods.networkpolicy import egress_to_operator, network_policy
from loraform_operator.pods.parts import (
    CONTAINER_SECURITY,
    ENDPOINT_FILES,
    ENDPOINT_MOUNT,
    TOKEN_MOUNT,
    claim_volume,
    endpoint_data,
    endpoint_volume,
    environment,
    pack_volumes,
    pod_base,
    resources,
    scratch_volumes,
    tmp_mount,
    token_volume,
    verifier_container,
)
from loraform_operator.pods.probes import http_probes
from loraform_operator.settings import Settings

ENGINE, GATEWAY = "engine", "gateway"
ENGINE_GRACE_SECONDS = 60
"""Time for open streams after SIGTERM."""
ENGINE_STOP_SECONDS = 10
"""Of that, what is left to the engine itself."""
DRAIN_SECONDS = 5
"""Time for Services to remove a terminating pod before it stops listening."""
AGENT_PORT = ServicePort("http", names.PORT_AGENT)
METRICS_PORT = ServicePort("metrics", names.PORT_METRICS)
ROUTE_MOUNT = {"name": "route", "mountPath": names.ROUTE_DIR, "readOnly": True}
BASE_MOUNT = {"name": "base", "mountPath": names.BASE_MOUNT, "readOnly": True}


def plan(observed: Observed, settings: Settings, endpoint: Endpoint) -> Plan:
    """Return the objects that serve the route, and the expired versions to delete.

    An engine that could not serve the route is not planned; the one that runs, of an earlier spec, stays.
    """
    model, route = observed.model, observed.route
    if route is None:
        return Plan(delete=_expired(observed, None))
    refused = engine_refusal_of(observed, _first_loaded(observed, route))
    return Plan(
        apply=[
            _account(model),
            endpoint_config_map(model, endpoint),
            *network_policies(model, endpoint),
            _service(model, names.engine_name(model.metadata.name), ENGINE, AGENT_PORT, names.PORT_AGENT),
            _service(model, model.metadata.name, GATEWAY, service_port(model.spec.serving), names.PORT_GATEWAY),
            *([] if refused else [engine_deployment(observed, route, settings)]),
            gateway_deployment(observed, route, settings),
        ],
        delete=_expired(observed, route),
    )


def route_config_map(model: IaCModel, route: Route) -> Object:
    """Return the ConfigMap of the route: it determines what is live, and pods start from it."""
    data = {names.ROUTE_FILE: route.model_dump_json(by_alias=True, exclude_none=True)}
    return _config_map(model, names.route_name(model.metadata.name), data)


def endpoint_config_map(model: IaCModel, endpoint: Endpoint) -> Object:
    """Return the ConfigMap with the operator's address, which serving pods read before each heartbeat."""
    path = names.heartbeat_path(model.metadata.namespace, model.metadata.name)
    return _config_map(model, _endpoint_name(model), endpoint_data(endpoint, path))


def engine_deployment(observed: Observed, route: Route, settings: Settings) -> Object:
    """Return the engine with its agent. A pod ends before its successor starts, which needs its GPU or RWO claim."""
    model, serving = observed.model, observed.model.spec.serving
    stores = sorted({split_claim_uri(v.artifact_uri)[0] for v in accepted_records(observed)})
    store_mounts = [
        {"name": f"store-{i}", "mountPath": f"{names.STORE_MOUNT}/{claim}", "readOnly": True}
        for i, claim in enumerate(stores)
    ]
    engine = engine_container(
        decide_engine(observed.profile, _first_loaded(observed, route).method, serving.lora),
        serving.placement.resources,
        model_path=route.base_path,
        mounts=[BASE_MOUNT, *store_mounts],
    )
    # the agent stops to serve metrics last, when the answers that it passed on have ended
    engine |= after_end_of(names.PORT_METRICS, seconds=ENGINE_GRACE_SECONDS - ENGINE_STOP_SECONDS)
    agent = _container(
        model,
        [names.CONTAINER_AGENT],
        (AGENT_PORT.name, names.PORT_AGENT),
        settings,
        mounts=store_mounts,
    )
    pod = {
        **_pod(model, serving.placement, observed, route, (names.CONTAINER_ENGINE, names.CONTAINER_AGENT)),
        "terminationGracePeriodSeconds": ENGINE_GRACE_SECONDS,
        "containers": [engine, agent],
    }
    pod["volumes"] += [claim_volume(f"store-{i}", claim, read_only=True) for i, claim in enumerate(stores)]
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    return _deployment(model, ENGINE, pod, strategy, serving.replicas)


def gateway_deployment(observed: Observed, route: Route, settings: Settings) -> Object:
    """Return the gateway with the verifier as a native sidecar."""
    model, serving = observed.model, observed.model.spec.serving
    policy = model.spec.policy
    engine_url = f"http://{names.engine_name(model.metadata.name)}.{model.metadata.namespace}.svc:{names.PORT_AGENT}"
    gateway = _container(
        model,
        [names.CONTAINER_GATEWAY, *arguments(serving)],
        (service_port(serving).name, names.PORT_GATEWAY),
        settings,
        mounts=[BASE_MOUNT, *mounts(serving)],
        env={names.ENV_ENGINE_URL: engine_url},
    )
    pod = {
        **_pod(model, serving.placement, observed, route, (names.CONTAINER_GATEWAY, names.CONTAINER_VERIFIER)),
        "initContainers": [{**verifier_container(settings.images.verifier, policy), "restartPolicy": "Always"}],
        "containers": [gateway],
    }
    pod["volumes"] += [*pack_volumes(policy, optional=False), *volumes(serving)]
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return _deployment(model, GATEWAY, pod, strategy, 1)


def network_policies(model: IaCModel, endpoint: Endpoint) -> list[Object]:
    """Return the policies: all pods may reach the gateway and the metrics, only the gateway the engine, and both the
    operator."""
    operator = egress_to_operator(endpoint)
    to_engine = {"to": [{"podSelector": _selector(model, ENGINE)}], "ports": [_tcp(names.PORT_AGENT)]}
    dns = {"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}, _tcp(53)]}
    metrics = {"ports": [_tcp(names.PORT_METRICS)]}
    from_gateway = {"from": [{"podSelector": _selector(model, GATEWAY)}], "ports": [_tcp(names.PORT_AGENT)]}
    rules = {
        ENGINE: network_policy(_selector(model, ENGINE), egress=operator, ingress=[from_gateway, metrics]),
        GATEWAY: network_policy(
            _selector(model, GATEWAY),
            egress=[*operator, to_engine, dns],
            ingress=[{"ports": [_tcp(names.PORT_GATEWAY)]}, metrics],
        ),
    }
    return [
        {**_child(model, "NetworkPolicy", _part_name(model, part), part), "spec": spec} for part, spec in rules.items()
    ]


def engine_selector(model: IaCModel) -> str:
    """Return the label selector of the engine pods as text, for autoscalers."""
    return ",".join(f"{k}={v}" for k, v in sorted(_selector(model, ENGINE)["matchLabels"].items()))


def _expired(observed: Observed, route: Route | None) -> list[Object]:
    in_use = {a.digest for a in route.adapters} if route else set()
    versions = expired(observed.versions, observed.model.spec.revision_history_limit, in_use)
    revisions = (observed.child("ControllerRevision", revision_name(observed.model, v)) for v in versions)
    return [r for r in revisions if r is not None]


def _pod(
    model: IaCModel, placement: PlacementSpec, observed: Observed, route: Route, containers: tuple[str, ...]
) -> Object:
    """Return what both pods share: account, placement, base, route, endpoint, token and scratch volumes."""
    claim, _ = split_claim_uri(_first_loaded(observed, route).base_model_uri)
    return {
        **pod_base(_account_name(model), placement),
        "volumes": [
            claim_volume("base", claim, read_only=True),
            {"name": "route", "configMap": {"name": names.route_name(model.metadata.name)}},
            endpoint_volume(_endpoint_name(model)),
            token_volume(model.metadata),
            *(v for c in containers for v in scratch_volumes(c)),
        ],
    }


def _first_loaded(observed: Observed, route: Route) -> VersionRecord:
    """Return the first version of the route: all of them have the same base and method."""
    return next(v for v in observed.versions if v.artifact_digest == route.adapters[0].digest)


def _container(
    model: IaCModel,
    args: list[str],
    port: tuple[str, int],
    settings: Settings,
    *,
    mounts: list[Object],
    env: dict[str, str] | None = None,
) -> Object:
    """Return the container of a role of the gateway's image, which is the first of `args`."""
    return {
        "name": args[0],
        "image": settings.images.gateway,
        "args": args,
        "env": environment(**ENDPOINT_FILES, **(env or {})),
        "ports": [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in (port, METRICS_PORT)],
        **http_probes(port[0], ready_path="/readyz", live_path="/healthz"),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
        "resources": resources("50m", "128Mi", limit="1Gi"),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [ROUTE_MOUNT, ENDPOINT_MOUNT, TOKEN_MOUNT, tmp_mount(args[0]), *mounts],
    }


def _deployment(model: IaCModel, part: str, pod: Object, strategy: Object, replicas: int | None) -> Object:
    """Return a Deployment; with `replicas` None an autoscaler owns the number."""
    spec: Object = {
        "selector": _selector(model, part),
        "strategy": strategy,
        "revisionHistoryLimit": 2,
        "template": {"metadata": {"labels": child_labels(Kind.IAC_MODEL, model.metadata, part)}, "spec": pod},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {**_child(model, "Deployment", _part_name(model, part), part), "spec": spec}


def _service(model: IaCModel, name: str, part: str, port: ServicePort, target: int) -> Object:
    spec = {
        "selector": _selector(model, part)["matchLabels"],
        "ports": [
            {"name": port.name, "port": port.number, "targetPort": target, "protocol": "TCP"},
            {
                "name": METRICS_PORT.name,
                "port": METRICS_PORT.number,
                "targetPort": names.PORT_METRICS,
                "protocol": "TCP",
            },
        ],
    }
    return {**_child(model, "Service", name, part), "spec": spec}


def _account(model: IaCModel) -> Object:
    """Return the service account of the serving pods; it has no API rights and only identifies them."""
    account = _child(model, "ServiceAccount", _account_name(model), "serving")
    return {**account, "automountServiceAccountToken": False}


def _config_map(model: IaCModel, name: str, data: dict[str, str]) -> Object:
    return {**_child(model, "ConfigMap", name, "serving"), "data": data}


def _child(model: IaCModel, kind: str, name: str, part: str) -> Object:
    return child(Kind.IAC_MODEL, model.metadata, kind, name, part)


def _part_name(model: IaCModel, part: str) -> str:
    """Return the name of the Deployment and the NetworkPolicy of a part."""
    return {ENGINE: names.engine_name, GATEWAY: names.gateway_name}[part](model.metadata.name)


def _account_name(model: IaCModel) -> str:
    return f"{model.metadata.name}-serving"


def _endpoint_name(model: IaCModel) -> str:
    return f"{model.metadata.name}-endpoint"


def _selector(model: IaCModel, part: str) -> Object:
    uid, name = model.metadata.uid, model.metadata.name
    labels = {names.LABEL_OWNER_UID: uid, names.LABEL_MODEL: name, names.LABEL_COMPONENT: part}
    return {"matchLabels": labels}


def _tcp(port: int) -> Object:
    return {"port": port, "protocol": "TCP"}
