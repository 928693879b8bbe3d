"""What a reconcile works with: settings, the cluster, what the watches know, and the stores of the endpoint."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from loraform_api.names import Kind
from loraform_operator.endpoint.heartbeats import HeartbeatStore, RouteStore
from loraform_operator.endpoint.progress import ProgressStore
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.events import Recorder
from loraform_operator.kube.objects import Object
from loraform_operator.settings import Settings


class Key(NamedTuple):
    """One custom resource; the unit of work of the queue."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True)
class Endpoint:
    """How pods reach the operator's HTTPS endpoint."""

    base_url: str
    """For example `https://10.96.7.7:9443`."""
    ca: str
    """PEM of the operator's own CA."""
    peers: tuple[str, ...]
    """IP addresses behind that URL, the Service's first: what an egress rule must name."""
    namespace: str
    """Namespace of the operator."""


@dataclass(frozen=True)
class Cache:
    """What the watches know. Values are kopf indexes in the operator and plain lists in tests."""

    objects: Mapping[Key, Collection[Object]]
    """Custom resources by key."""
    children: Mapping[Key, Collection[Object]]
    """Objects that carry our labels, by the custom resource that owns them."""
    gone: set[str] = field(default_factory=set)
    """Uids of what the indexes still hold although it is gone (`sweep` says why that can be)."""

    def get(self, key: Key) -> Object | None:
        """Return the custom resource, or None when it is gone."""
        return next(self._standing(self.objects, key), None)

    def all(self, kind: Kind) -> Iterator[tuple[Key, Object]]:
        """Return the custom resources of a kind."""
        for key in list(self.objects):
            if key.kind == kind:
                yield from ((key, body) for body in self._standing(self.objects, key))

    def correct(self, key: Key, now: Object | None) -> None:
        """Forget each custom resource of that name but the one that stands there `now`."""
        uid = now["metadata"]["uid"] if now else None
        self.gone.update(
            found for body in self._standing(self.objects, key) if (found := body["metadata"]["uid"]) != uid
        )

    def owned(self, key: Key) -> tuple[Object, ...]:
        """Return the children of a custom resource."""
        return tuple(self._standing(self.children, key))

    def held(self) -> dict[str, dict[str, Key]]:
        """Return by kind and uid whose each object is that the indexes hold."""
        found: dict[str, dict[str, Key]] = {}
        for index in (self.objects, self.children):
            for key in list(index):
                for body in self._standing(index, key):
                    found.setdefault(body["kind"], {})[body["metadata"]["uid"]] = key
        return found

    def _standing(self, index: Mapping[Key, Collection[Object]], key: Key) -> Iterator[Object]:
        return (body for body in index.get(key, ()) if body["metadata"]["uid"] not in self.gone)


@dataclass
class Context:
    settings: Settings
    cluster: Cluster
    cache: Cache
    endpoint: Endpoint
    """Replaced when the CA was made anew."""
    events: Recorder
    progress: ProgressStore
    heartbeats: HeartbeatStore
    routes: RouteStore
    clock: Callable[[], datetime]

    async def current(self, key: Key) -> Object | None:
        """Return the custom resource as the API server has it, None when it is gone or going.

        What is made or decided in a pass must not rest on an index that still tells of an object before.
        """
        if self.cache.get(key) is None:
            return None
        body = await self.cluster.get(key.kind.value, key.namespace, key.name)
        self.cache.correct(key, body)
        return None if body is None or "deletionTimestamp" in body["metadata"] else body
