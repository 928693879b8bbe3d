"""All kopf handlers: login, start, stop, indexes, and events, which only wake keys of the queue."""

from __future__ import annotations

import os
from typing import Any, Protocol

import kopf

from loraform_api.names import GROUP, LABEL_MANAGED_BY, MANAGER, VERSION, Kind
from loraform_operator.context import Cache, Key
from loraform_operator.kube.backoffs import Backoffs
from loraform_operator.kube.children import OWNER_LABELS
from loraform_operator.queue import Lane

CHILDREN = (
    ("batch", "v1", "jobs"),
    ("apps", "v1", "deployments"),
    ("apps", "v1", "controllerrevisions"),
    ("networking.k8s.io", "v1", "networkpolicies"),
    ("", "v1", "pods"),
    ("", "v1", "persistentvolumeclaims"),
    ("", "v1", "configmaps"),
    ("", "v1", "serviceaccounts"),
    ("", "v1", "services"),
)
"""Kinds of owned objects; only those with the `app.kubernetes.io/managed-by` label are watched."""
OURS = {LABEL_MANAGED_BY: MANAGER}


class Operator(Protocol):
    """The part of `app.App` that the handlers use; kopf passes it as `memo.app`."""

    namespaced: bool

    async def start(self, cache: Cache) -> None: ...

    async def stop(self) -> None: ...

    def seen(self, key: Key | None, lane: Lane) -> None: ...


def configure(settings: kopf.OperatorSettings, *, namespaced: bool) -> None:
    """Replace kopf's defaults that are unsafe or unbounded."""
    settings.posting.enabled = False
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = Backoffs()
    settings.queueing.error_delays = Backoffs()
    settings.queueing.worker_limit = None  # a limit below the number of indexed objects deadlocks at start
    settings.watching.server_timeout = 600
    settings.watching.chunk_size = 500
    settings.scanning.disabled = namespaced  # kopf would list namespaces and CRDs, which a Role cannot allow
    for group, version, plural in CHILDREN:
        selector = f"{LABEL_MANAGED_BY}={MANAGER}"
        settings.watching.label_selectors[group, version, plural] = selector


@kopf.on.login()
async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Log in like `Cluster.connect`: with $KUBECONFIG if set, else as the pod's service account."""
    if os.environ.get("KUBECONFIG"):
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.login_with_service_account(**kwargs)


@kopf.on.startup(errors=kopf.ErrorsMode.PERMANENT)  # a port in use ends the process
async def start(settings: kopf.OperatorSettings, memo: Any, **indexes: Any) -> None:
    app: Operator = memo.app
    configure(settings, namespaced=app.namespaced)
    await app.start(Cache(indexes["objects"], indexes["children"]))


@kopf.on.cleanup()
async def stop(memo: Any, **_: Any) -> None:
    app: Operator = memo.app
    await app.stop()


@kopf.index(GROUP, VERSION, Kind.FINE_TUNE_JOB.plural)
@kopf.index(GROUP, VERSION, Kind.IAC_MODEL.plural)
async def objects(body: kopf.Body, **_: Any) -> dict[Key, dict[str, Any]]:
    obj = _trimmed(body)
    return {_key(obj): obj}


@kopf.on.event(GROUP, VERSION, Kind.FINE_TUNE_JOB.plural)
async def on_run(body: kopf.Body, event: kopf.RawEvent, memo: Any, **_: Any) -> None:
    """Wake the run, and the model that it names."""
    memo.app.seen(_key(body), lane_of(event))
    memo.app.seen(model_of(body), lane_of(event))


@kopf.on.event(GROUP, VERSION, Kind.IAC_MODEL.plural)
async def on_model(body: kopf.Body, event: kopf.RawEvent, memo: Any, **indexes: Any) -> None:
    """Wake the model, and the runs that name it: they may wait for it."""
    key = _key(body)
    memo.app.seen(key, lane_of(event))
    for run, run_body in Cache(indexes["objects"], {}).all(Kind.FINE_TUNE_JOB):
        if model_of(run_body) == key:
            memo.app.seen(run, lane_of(event))


async def children(body: kopf.Body, **_: Any) -> dict[Key, dict[str, Any]]:
    """Index an owned object by its custom resource."""
    owner = owner_of(body)
    return {} if owner is None else {owner: _trimmed(body)}


async def on_child(body: kopf.Body, event: kopf.RawEvent, memo: Any, **_: Any) -> None:
    """Wake the owner of the object."""
    memo.app.seen(owner_of(body), lane_of(event))


for _group, _version, _plural in CHILDREN:
    kopf.index(_group, _version, _plural, labels=OURS)(children)
    kopf.on.event(_group, _version, _plural, labels=OURS)(on_child)


def lane_of(event: kopf.RawEvent) -> Lane:
    """Return how urgent an event is: an object that a list has, at the start or after a gap, may be old."""
    return Lane.WAITING if event["type"] is None else Lane.MOVING


def owner_of(body: Any) -> Key | None:
    """Return the custom resource that the object's labels name, or None."""
    meta = body["metadata"]
    labels = meta.get("labels") or {}
    for kind, label in OWNER_LABELS.items():
        if label in labels:
            return Key(kind, meta["namespace"], labels[label])
    return None


def model_of(run: Any) -> Key | None:
    """Return the IaCModel that `spec.modelRef` names, or None."""
    reference = (run.get("spec") or {}).get("modelRef")
    return Key(Kind.IAC_MODEL, run["metadata"]["namespace"], reference["name"]) if reference else None


def _key(body: Any) -> Key:
    return Key(Kind(body["kind"]), body["metadata"]["namespace"], body["metadata"]["name"])


def _trimmed(body: Any) -> dict[str, Any]:
    """Return the object as a plain dict without `managedFields`, which would fill the memory."""
    obj = dict(body)
    obj["metadata"] = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    return obj
