"""Authenticates pods by projected service-account tokens, verified with the cluster's OIDC keys."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jwt

from loraform_operator.kube.errors import ClusterError

log = logging.getLogger(__name__)

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
REFRESH_SECONDS = 30.0
"""Shortest time between two reads of the keys, whatever tokens arrive."""
LONGEST_TOKEN = 8192

Get = Callable[[str], Awaitable[dict[str, Any]]]
"""Reads a path of the API server."""


class Unauthorized(Exception):  # noqa: N818 (named as the HTTP answer)
    """The token is not valid for the request; the message never includes the token."""


@dataclass(frozen=True)
class Caller:
    """The pod that a token is bound to."""

    namespace: str
    pod: str
    pod_uid: str


class TokenVerifier:
    """Verifies tokens with the cluster's OIDC keys, which it caches."""

    def __init__(self, get: Get, clock: Callable[[], float] = time.monotonic) -> None:
        self._get = get
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._issuer = ""
        self._read_at: float | None = None
        self._lock = asyncio.Lock()

    async def verify(self, token: str, audience: str) -> Caller:
        """Return the caller of a valid token whose only audience is `audience`; raises `Unauthorized`."""
        if len(token) > LONGEST_TOKEN:
            raise Unauthorized(f"the token is longer than {LONGEST_TOKEN} characters")
        try:
            claimed = jwt.decode(token, options={"verify_signature": False})
            kid = str(jwt.get_unverified_header(token).get("kid"))
        except jwt.InvalidTokenError as error:
            raise Unauthorized("the token is not a JSON web token") from error
        if claimed.get("aud") not in (audience, [audience]):  # before an unauthenticated caller can cause a request
            raise Unauthorized(f"the token is not for {audience}")
        key = await self._key(kid)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=audience,
                issuer=self._issuer,
                leeway=10,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.InvalidTokenError, TypeError) as error:
            raise Unauthorized(f"{type(error).__name__}: {error}") from error
        return _caller(claims)

    async def _key(self, kid: str) -> jwt.PyJWK:
        async with self._lock:
            if kid not in self._keys and self._may_read():
                await self._read()
        try:
            return self._keys[kid]
        except KeyError:
            raise Unauthorized("the token is signed with a key that the cluster does not publish") from None

    def _may_read(self) -> bool:
        return self._read_at is None or self._clock() - self._read_at >= REFRESH_SECONDS

    async def _read(self) -> None:
        self._read_at = self._clock()
        try:
            configuration = await self._get("/.well-known/openid-configuration")
            keys = await self._get("/openid/v1/jwks")
        except ClusterError as error:
            log.warning("cannot read the cluster's token keys: %s", error)
            return
        self._issuer = str(configuration["issuer"])
        self._keys = {str(k["kid"]): jwt.PyJWK(k) for k in keys["keys"] if k.get("kty") in ("RSA", "EC")}


def _caller(claims: dict[str, Any]) -> Caller:
    bound = claims.get("kubernetes.io") or {}
    pod = bound.get("pod") or {}
    if not (bound.get("namespace") and pod.get("uid")):
        raise Unauthorized("the token is not bound to a pod")
    return Caller(namespace=bound["namespace"], pod=str(pod.get("name")), pod_uid=pod["uid"])
