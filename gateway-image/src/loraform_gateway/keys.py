"""API keys: who asks, by the sha256 of the key that the request shows.

The file is a key of a Secret that the kubelet mounts and swaps when it changes; it is read again then. It never makes a
gateway open: without a usable file nobody is answered.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path

from aiohttp import web

from loraform_api import names
from loraform_gateway.errors import ApiError, unavailable

LOG = logging.getLogger(__name__)
ANONYMOUS = "anonymous"
"""Name of all callers where no keys are demanded."""
MOST_KEYS = 1000
"""Most lines of the file: each request is compared with all of them."""
LOOK_SECONDS = 1.0
"""Least seconds between two looks at the file."""
OPEN_PATHS = ("/healthz", "/readyz")
_LINE = re.compile(r"([A-Za-z0-9._-]{1,63}):([0-9a-f]{64})")
_CALLER: ContextVar[str] = ContextVar("caller", default="")

Keys = dict[bytes, str]
"""Names by the digests of their keys; a name may have several, while its key is replaced."""


def caller() -> str:
    """Return the name of the key of the request that this task serves; empty before it was checked."""
    return _CALLER.get()


def parse_keys(text: str) -> Keys:
    """Return the keys of a file; raises ValueError that names the line and never quotes it."""
    keys: Keys = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ValueError(
                f"line {number} must be `name:sha256`: a name of at most 63 letters, digits, '.', '_' and '-', "
                "and the key's SHA-256 as 64 lower-case hex digits"
            )
        name, digest = match[1], bytes.fromhex(match[2])
        if digest in keys:
            raise ValueError(f"line {number} repeats the key of an earlier line: give each name a key of its own")
        keys[digest] = name
    if len(keys) > MOST_KEYS:
        raise ValueError(f"it has {len(keys)} keys, allowed are at most {MOST_KEYS}")
    return keys


class KeyFile:
    """The keys of a file, read again when it changes; an unusable one leaves the last keys in force."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._keys: Keys | None = None
        self._seen: object = None
        self._look_at = 0.0
        self._error = ""

    @property
    def problem(self) -> str:
        """Why nobody can be answered; empty once a file was read."""
        self._refresh()
        return self._error if self._keys is None else ""

    def name_of(self, key: str) -> str | None:
        """Return the name of `key`, None for an unknown one; raises ApiError 503 before any file was read.

        The time tells nothing about the keys: every digest is compared, each in constant time.
        """
        self._refresh()
        if self._keys is None:
            raise unavailable("api_keys_unreadable", self._error, retry_after=30)
        digest, found = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest(), None
        for known, name in self._keys.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _refresh(self) -> None:
        now = self._clock()
        if self._seen is not None and now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        seen = _identity(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = parse_keys(self._path.read_text(encoding="utf-8-sig"))  # Windows writes a mark first
        except OSError:
            self._fail("cannot be read; write a line `name:sha256` there for each API key")
        except ValueError as error:  # not UTF-8 among them, whose message would quote a byte
            self._fail("is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"is invalid: {error}")
        else:
            self._error = ""
            LOG.info("read %d API keys", len(self._keys))

    def _fail(self, reason: str) -> None:
        self._error = f"key `{names.API_KEYS_FILE}` of the Secret in `spec.serving.apiKeySecretRef` {reason}"
        kept = "; the keys read before stay in force" if self._keys is not None else "; no caller is answered"
        LOG.error("%s%s", self._error, kept)


def _identity(path: Path) -> object:
    """Return what changes with the file: the kubelet replaces the folder that it lies in."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_mtime_ns, found.st_size


class Authenticator:
    """Names the caller of each request; without a file all are anonymous."""

    def __init__(self, keys: KeyFile | None) -> None:
        self._keys = keys

    @property
    def problem(self) -> str:
        """Why no caller can be named; empty when nothing is wrong."""
        return self._keys.problem if self._keys else ""

    @property
    def demands_keys(self) -> bool:
        return self._keys is not None

    @web.middleware
    async def authenticate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse a request without a known key by 401; the paths of probes are open."""
        if request.path not in OPEN_PATHS:
            _CALLER.set(self._name(request))
        return await handler(request)

    def _name(self, request: web.Request) -> str:
        if self._keys is None:
            return ANONYMOUS
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        name = self._keys.name_of(key.strip())
        if scheme.lower() != "bearer" or not key.strip():
            raise _unauthorized("an API key is missing: send it as `Authorization: Bearer KEY`")
        if name is None:
            raise _unauthorized("the API key is not known here: check it, or ask for a new one")
        return name


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "invalid_api_key", message)
