"""Client of the API server: dict bodies, safe retries, request metrics, own errors.

The only module that imports `kubernetes`. Its typed models are not used: they reject valid objects.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from loraform_api.names import MANAGER
from loraform_operator.kube import errors
from loraform_operator.kube.objects import Object, api_version, path_of

log = logging.getLogger(__name__)

TIMEOUT_SECONDS, CONNECT_SECONDS = 30.0, 10.0
ATTEMPTS = 5
LONGEST_PAUSE = 30.0
"""Upper bound in seconds for a `Retry-After`."""
RETRIED = {429, 500, 502, 503, 504}
ERRORS: dict[int, type[errors.ClusterError]] = {
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    422: errors.Invalid,
}
APPLY = "application/apply-patch+yaml"
ABSENT = "1"
"""A resourceVersion that no object has: etcd's first revision is its empty store. An apply with it only creates."""
CountRequest = Callable[[str, str, int], None]
"""Called after each request with method, host and HTTP status (0 without a response)."""
SecondsLeft = Callable[[], float]
"""Returns for how many seconds this process may still write, 0 for not at all."""


def without_limit() -> float:
    """Let a client write that no lease binds: the elector's own."""
    return math.inf


class Cluster:
    """An authenticated client; requests raise `ClusterError` or a subclass.

    It sends no write when `seconds_left` is 0, and gives one up when they are over. A write that was sent before, and
    arrives late, changes nothing: each names the resourceVersion or uid of what was read.
    """

    def __init__(
        self,
        api: client.ApiClient,
        count: CountRequest,
        seconds_left: SecondsLeft,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._count = count
        self._seconds_left = seconds_left
        self._sleep = sleep
        self.host: str = api.configuration.host
        api.user_agent = MANAGER

    @classmethod
    async def connect(cls, kubeconfig: str | None, count: CountRequest, seconds_left: SecondsLeft) -> Cluster:
        """Log in with a kubeconfig file, or as the pod's service account, whose token is reloaded every minute."""
        settings = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(kubeconfig, client_configuration=settings)
        else:
            config.load_incluster_config(settings)
        return cls(client.ApiClient(settings), count, seconds_left)

    async def close(self) -> None:
        await self._api.close()

    async def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """Return the object, or None when it does not exist."""
        try:
            return await self.request("GET", path_of(kind, namespace, name))
        except errors.NotFound:
            return None

    async def list(
        self, kind: str, namespace: str | None, *, labels: str | None = None, fields: str | None = None
    ) -> list[Object]:
        """Return the objects of a namespace (None for all) that match the selectors."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        response = await self.request("GET", path_of(kind, namespace), query={k: v for k, v in query.items() if v})
        items: list[Object] = response.get("items") or []
        return [{"apiVersion": api_version(kind), "kind": kind, **item} for item in items]

    async def create(self, obj: Object) -> Object:
        """Create the object, or return the existing one of the same owner unchanged.

        Raises `ForeignObject` when the existing one has another owner.
        """
        kind, meta = obj["kind"], obj["metadata"]
        try:
            return await self.request("POST", path_of(kind, meta["namespace"]), obj, query={"fieldManager": MANAGER})
        except errors.Conflict:
            existing = await self.get(kind, meta["namespace"], meta["name"])
        if existing is None:  # deleted between the two requests
            raise errors.Conflict(f"{kind} {meta['namespace']}/{meta['name']} was deleted during its creation", 409)
        _check_same_owner(existing, obj)
        return existing

    async def check_owner(self, obj: Object) -> Object | None:
        """Return the object of that name, None without one; raises `ForeignObject` when it has another owner."""
        existing = await self.get(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
        if existing is not None:
            _check_same_owner(existing, obj)
        return existing

    async def apply(self, obj: Object, observed: Object | None) -> Object:
        """Apply the object server-side as the operator's field manager, with `force`.

        Raises `Conflict` when it changed since `observed` was read, or exists although `observed` is None.
        """
        meta = obj["metadata"]
        version = observed["metadata"]["resourceVersion"] if observed else ABSENT
        body = {**obj, "metadata": {**meta, "resourceVersion": version}}
        query = {"fieldManager": MANAGER, "force": "true"}
        path = path_of(obj["kind"], meta["namespace"], meta["name"])
        return await self.request("PATCH", path, body, query=query, content_type=APPLY)

    async def write_status(self, obj: Object, status: Object) -> Object:
        """Write the whole status of a custom resource; raises `Conflict` when it changed since `obj` was read."""
        meta = obj["metadata"]
        body = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "metadata": {k: meta[k] for k in ("name", "namespace", "resourceVersion")},
            "status": status,
        }
        query = {"fieldManager": MANAGER, "force": "true"}
        path = path_of(obj["kind"], meta["namespace"], meta["name"], "status")
        return await self.request("PATCH", path, body, query=query, content_type=APPLY)

    async def patch_merge(self, observed: Object, body: Object) -> Object:
        """Send a JSON merge patch, for Events, whose count increases; raises `Conflict` when `observed` is outdated."""
        meta = observed["metadata"]
        body = {**body, "metadata": {"resourceVersion": meta["resourceVersion"]}}
        path = path_of(observed["kind"], meta["namespace"], meta["name"])
        return await self.request("PATCH", path, body, content_type="application/merge-patch+json")

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this uid, its children in the background; does nothing when it no longer exists."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self.request("DELETE", path_of(kind, namespace, name), body)
        except (errors.NotFound, errors.Conflict):
            log.debug("%s %s/%s with uid %s was already deleted", kind, namespace, name, uid)

    async def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send a request and return the decoded response; retries what is safe to repeat, with backoff."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(method, path, body, query or {}, content_type)
            except errors.NotLeading:
                raise
            except errors.ClusterError as error:
                throttled = error.status == 429  # not processed: safe to repeat for every verb
                transient = error.status in RETRIED or error.status == 0
                if attempt == ATTEMPTS or not (throttled or (transient and method != "POST")):
                    raise
                pause = max(error.retry_after, random.uniform(0.5, 1) * 0.2 * 2**attempt)  # noqa: S311 (jitter)
                log.info("%s; retrying in %.1f s", error, pause)
                await self._sleep(pause)
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, body: Object | None, query: Mapping[str, str], content_type: str
    ) -> Object:
        headers = {"Content-Type": content_type, "Accept": "application/json, */*;q=0.1"}
        call = await self._api.param_serialize(
            method, path, {}, list(query.items()), headers, body, auth_settings=["BearerToken"]
        )
        seconds = TIMEOUT_SECONDS if method == "GET" else min(TIMEOUT_SECONDS, self._seconds_left())
        if seconds <= 0:
            raise errors.NotLeading(f"{method} {path}: not sent, this process does not hold the lease")
        timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)
        status = 0
        try:
            response = await self._api.call_api(*call, _request_timeout=timeout)
            status = response.status
            raw: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.ClusterError(f"{method} {path}: {type(error).__name__}: {error}") from error
        finally:
            self._count(method, self.host, status)
        if status >= 400:
            raise _failure(method, path, status, raw, response.headers)
        decoded: Object = json.loads(raw) if raw else {}
        return decoded


def _failure(method: str, path: str, status: int, raw: bytes, headers: Mapping[str, str]) -> errors.ClusterError:
    try:
        message = json.loads(raw)["message"]
    except (ValueError, KeyError, TypeError):
        message = raw[:300].decode(errors="replace")
    retry_after = headers.get("Retry-After", "")
    pause = min(float(retry_after), LONGEST_PAUSE) if retry_after.isdigit() else 0.0
    return ERRORS.get(status, errors.ClusterError)(f"{method} {path}: {message}", status, pause)


def _check_same_owner(existing: Object, obj: Object) -> None:
    if _owner_uid(existing) != _owner_uid(obj):
        meta = obj["metadata"]
        name = f"{obj['kind']} {meta['namespace']}/{meta['name']}"
        raise errors.ForeignObject(f"{name} exists and has another owner: delete or rename it", 409)


def _owner_uid(obj: Object) -> str | None:
    owners = obj["metadata"].get("ownerReferences") or []
    return next((o["uid"] for o in owners if o.get("controller")), None)
