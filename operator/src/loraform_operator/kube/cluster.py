"""The API server, for our few verbs: dict bodies, retries of what may be repeated, request metrics, our own errors.

The only module that knows the `kubernetes` package. Its typed models are not used: they reject valid objects.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from loraform_api.names import MANAGER
from loraform_operator.kube import errors
from loraform_operator.kube.objects import Object, api_version, path_of

log = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
ATTEMPTS = 5
LONGEST_PAUSE = 30.0
"""Seconds that a `Retry-After` may make us wait inside one call."""
RETRIED = {429, 500, 502, 503, 504}
ERRORS: dict[int, type[errors.ClusterError]] = {
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    422: errors.Invalid,
}
APPLY = "application/apply-patch+yaml"
CountRequest = Callable[[str, str, int], None]
"""Called after each answer with method, host and HTTP status (0: none came)."""


class Cluster:
    """An authenticated client. Calls raise `ClusterError` or a subclass; they never block the loop."""

    def __init__(self, api: client.ApiClient, count: CountRequest, sleep: Callable[[float], Any] = asyncio.sleep):
        self._api = api
        self._count = count
        self._sleep = sleep
        self.host: str = api.configuration.host
        api.user_agent = MANAGER

    @classmethod
    async def connect(cls, kubeconfig: str | None, count: CountRequest) -> Cluster:
        """Log in by a kubeconfig file, or as the pod's service account (whose token is read again each minute)."""
        settings = client.Configuration()
        if kubeconfig:
            await config.load_kube_config(kubeconfig, client_configuration=settings)
        else:
            config.load_incluster_config(settings)
        return cls(client.ApiClient(settings), count)

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
        """Return the objects of a namespace (None: of all) that the selectors match."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        found = await self.request("GET", path_of(kind, namespace), query={k: v for k, v in query.items() if v})
        items: list[Object] = found.get("items") or []
        return [{"apiVersion": api_version(kind), "kind": kind, **item} for item in items]

    async def create(self, obj: Object) -> Object:
        """Create the object once. Where the name is taken by the same owner, return what stands there, untouched.

        Raises `ForeignObject` when another owner has the name.
        """
        kind, meta = obj["kind"], obj["metadata"]
        try:
            return await self.request("POST", path_of(kind, meta["namespace"]), obj, query={"fieldManager": MANAGER})
        except errors.Conflict:
            found = await self.get(kind, meta["namespace"], meta["name"])
        if found is None:  # being deleted at this very moment
            raise errors.Conflict(f"{kind} {meta['name']} vanished while it was created", 409)
        _same_owner(found, obj)
        return found

    async def refuse_foreign(self, obj: Object) -> None:
        """Raise `ForeignObject` when the name is taken by something of another owner."""
        found = await self.get(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
        if found is not None:
            _same_owner(found, obj)

    async def apply(self, obj: Object) -> Object:
        """Server-side apply as our field manager, taking over the fields that we send."""
        meta = obj["metadata"]
        query = {"fieldManager": MANAGER, "force": "true"}
        path = path_of(obj["kind"], meta.get("namespace"), meta["name"])
        return await self.request("PATCH", path, obj, query=query, content_type=APPLY)

    async def write_status(self, obj: Object, status: Object) -> Object:
        """Write the whole status of a custom resource as it was observed; `Conflict` when it changed meanwhile."""
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

    async def patch_merge(self, kind: str, namespace: str, name: str, body: Object) -> Object:
        """JSON merge patch; for Events, whose counters grow."""
        return await self.request(
            "PATCH", path_of(kind, namespace, name), body, content_type="application/merge-patch+json"
        )

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete exactly the object with this uid, children in the background; nothing happens when it is gone."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self.request("DELETE", path_of(kind, namespace, name), body)
        except (errors.NotFound, errors.Conflict):
            log.debug("%s %s/%s with uid %s is gone already", kind, namespace, name, uid)

    async def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send one request and return the decoded answer; repeats what is safe to repeat, with growing pauses."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(method, path, body, query or {}, content_type)
            except errors.ClusterError as error:
                refused = error.status == 429  # never reached the handler: repeating is safe for every verb
                unsure = error.status in RETRIED or error.status == 0
                if attempt == ATTEMPTS or not (refused or (unsure and method != "POST")):
                    raise
                pause = max(error.retry_after, random.uniform(0.5, 1) * 0.2 * 2**attempt)  # noqa: S311 (jitter)
                log.info("%s; again in %.1f s", error, pause)
                await self._sleep(pause)
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, body: Object | None, query: Mapping[str, str], content_type: str
    ) -> Object:
        headers = {"Content-Type": content_type, "Accept": "application/json, */*;q=0.1"}
        call = await self._api.param_serialize(
            method, path, {}, list(query.items()), headers, body, auth_settings=["BearerToken"]
        )
        status = 0
        try:
            answer = await self._api.call_api(*call, _request_timeout=TIMEOUT)
            status = answer.status
            raw: bytes = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.ClusterError(f"{method} {path}: {type(error).__name__}: {error}") from error
        finally:
            self._count(method, self.host, status)
        if status >= 400:
            raise _failure(method, path, status, raw, answer.headers)
        decoded: Object = json.loads(raw) if raw else {}
        return decoded


def _failure(method: str, path: str, status: int, raw: bytes, headers: Mapping[str, str]) -> errors.ClusterError:
    try:
        message = json.loads(raw)["message"]
    except (ValueError, KeyError, TypeError):
        message = raw[:300].decode(errors="replace")
    asked = headers.get("Retry-After", "")
    pause = min(float(asked), LONGEST_PAUSE) if asked.isdigit() else 0.0
    return ERRORS.get(status, errors.ClusterError)(f"{method} {path}: {message}", status, pause)


def _same_owner(found: Object, obj: Object) -> None:
    if _owner_uid(found) != _owner_uid(obj):
        meta = obj["metadata"]
        where = f"{obj['kind']} {meta['namespace']}/{meta['name']}"
        raise errors.ForeignObject(f"{where} exists and belongs to something else: remove or rename it", 409)


def _owner_uid(obj: Object) -> str | None:
    owners = obj["metadata"].get("ownerReferences") or []
    return next((o["uid"] for o in owners if o.get("controller")), None)
