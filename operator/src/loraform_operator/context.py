"""What a reconcile uses: settings, API client, indexes of the watches, and stores of the endpoint."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from loraform_api.names import Kind
from loraform_operator.endpoint.heartbeats import HeartbeatStore, RouteStore
from loraform_operator.endpoint.progress_store import ProgressStore
from loraform_operator.kube.cluster import Cluster
from loraform_operator.kube.events import Recorder
from loraform_operator.kube.objects import Object
from loraform_operator.settings import Settings
from loraform_operator.waits import Waits


class Key(NamedTuple):
    """A custom resource; the queue works on one key at a time."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True)
class Endpoint:
    """Address and CA of the operator's HTTPS endpoint.

    Data for ConfigMaps and network policies only: a pod template with a part of it would change when the Service is
    made anew, and its pods with it.
    """

    base_url: str
    """For example `https://10.96.7.7:9443`."""
    server_name: str
    """DNS name of the Service, for which the certificate is made."""
    ca: str
    """PEM of the operator's own CA."""
    addresses: tuple[str, ...]
    """IP addresses that egress rules must allow beside the operator's pods, the Service's first."""
    namespace: str
    """Namespace of the operator."""


@dataclass(frozen=True)
class Cache:
    """Objects that the watches reported: kopf indexes in the operator, plain dicts in tests."""

    objects: Mapping[Key, Collection[Object]]
    """Custom resources by key."""
    children: Mapping[Key, Collection[Object]]
    """Owned objects by custom resource."""
    deleted_uids: set[str] = field(default_factory=set)
    """Uids of deleted objects that the indexes still hold (see `sweep`)."""

    def get(self, key: Key) -> Object | None:
        """Return the custom resource, or None when it does not exist."""
        return next(self._present(self.objects, key), None)

    def all(self, kind: Kind) -> Iterator[tuple[Key, Object]]:
        """Return the custom resources of a kind."""
        for key in list(self.objects):
            if key.kind == kind:
                yield from ((key, body) for body in self._present(self.objects, key))

    def drop_outdated(self, key: Key, current: Object | None) -> None:
        """Drop every custom resource of that name except `current`, the one in the API server."""
        uid = current["metadata"]["uid"] if current else None
        indexed = {body["metadata"]["uid"] for body in self._present(self.objects, key)}
        self.deleted_uids.update(indexed - {uid})

    def owned(self, key: Key) -> tuple[Object, ...]:
        """Return the objects that a custom resource owns."""
        return tuple(self._present(self.children, key))

    def owners_by_uid(self) -> dict[str, dict[str, Key]]:
        """Return the key of each indexed object's custom resource, by kind and uid."""
        owners: dict[str, dict[str, Key]] = {}
        for index in (self.objects, self.children):
            for key in list(index):
                for body in self._present(index, key):
                    owners.setdefault(body["kind"], {})[body["metadata"]["uid"]] = key
        return owners

    def _present(self, index: Mapping[Key, Collection[Object]], key: Key) -> Iterator[Object]:
        return (body for body in index.get(key, ()) if body["metadata"]["uid"] not in self.deleted_uids)


@dataclass
class Context:
    """Everything that a reconcile uses."""

    settings: Settings
    cluster: Cluster
    cache: Cache
    endpoint: Endpoint
    """Replaced when the Service has another address, or the CA is renewed."""
    events: Recorder
    progress: ProgressStore
    heartbeats: HeartbeatStore
    routes: RouteStore
    clock: Callable[[], datetime]
    waits: Waits = field(default_factory=Waits)

    async def current(self, key: Key) -> Object | None:
        """Return the custom resource from the API server, None when it does not exist or is being deleted.

        An index may still hold a deleted object of the same name; nothing may be created or decided for that one.
        """
        if self.cache.get(key) is None:
            return None
        body = await self.cluster.get(key.kind.value, key.namespace, key.name)
        self.cache.drop_outdated(key, body)
        return None if body is None or "deletionTimestamp" in body["metadata"] else body
