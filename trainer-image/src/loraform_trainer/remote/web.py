"""HTTP as all places need it: address-checked on every hop, credentials for one host only, size-capped, streamed."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from loraform_trainer.remote.addresses import RefusedAddressError, check_url, guard, resolve
from loraform_trainer.remote.body import Clock, pieces, whole
from loraform_trainer.remote.identity import Place
from loraform_trainer.runtime.errors import InvalidConfigError, MissingReferenceError, TransientError
from loraform_trainer.runtime.files import fsync_file

MAX_BYTES = 2 << 30
"""Largest file of rows."""
MAX_PAGES = 100
"""Longest listing, in pages of about a thousand files."""
MAX_REDIRECTS = 5
TIMEOUT = urllib3.Timeout(connect=20.0, read=60.0)
RETRIES = urllib3.Retry(
    total=2,
    other=0,  # a certificate will not be trusted the next time either
    redirect=False,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=("GET", "HEAD"),
    backoff_factor=0.5,
    raise_on_status=False,
    respect_retry_after_header=False,  # a server could ask for hours; another pod comes later
)
PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.PRECONDITION_FAILED)
"""Client errors that another pod may not meet; the last one: what was listed has changed since."""
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Saved:
    sha256: str
    size: int


class Web:
    """An HTTP client for one place. `plain` also allows http, for what a digest fixes and the cluster serves."""

    def __init__(self, place: Place, *, plain: bool = False, clock: Clock = time.monotonic) -> None:
        guard()
        self.place = place
        self._plain = plain
        self._clock = clock
        context = ssl.create_default_context(cafile=None if place.ca_file is None else str(place.ca_file))
        self._pool = urllib3.PoolManager(ssl_context=context, timeout=TIMEOUT, retries=RETRIES)

    @contextmanager
    def open(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        authorization: str | None = None,
        body: bytes | IO[bytes] | None = None,
        accept: Iterable[int] = (HTTPStatus.OK,),
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Yield the answer, its body unread, when its status is in `accept`; follow redirects of GET and HEAD.

        `authorization` goes to the host of `url` alone. Raises InvalidConfigError (URL, address, certificate),
        AccessDeniedError (401, 403), MissingReferenceError (other 4xx) and TransientError (network, 5xx).
        """
        sent = {"User-Agent": "loraform", "Accept-Encoding": "identity", **(headers or {})}
        if authorization is not None:
            sent["Authorization"] = authorization
        where = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, where, sent, body)
            try:
                target = response.headers.get("Location")
                if response.status in REDIRECTS and target and method in ("GET", "HEAD"):
                    before, where = where, urljoin(where, target)
                    if _origin(before) != _origin(where):
                        sent.pop("Authorization", None)
                    continue
                if response.status not in accept:
                    raise self._refused(response.status, where)
                yield response
                return
            finally:
                response.close()
        raise InvalidConfigError(f"{self.place.field}: {url} redirects more than {MAX_REDIRECTS} times")

    def save(self, url: str, target: Path, *, max_bytes: int = MAX_BYTES, authorization: str | None = None) -> Saved:
        """Stream the body at `url` into `target`, flushed to disk."""
        with self.open(url, authorization=authorization) as response:
            return self.write(response, url, target, max_bytes)

    def write(self, response: urllib3.BaseHTTPResponse, url: str, target: Path, max_bytes: int) -> Saved:
        """Stream an answer's body into `target`, flushed to disk."""
        return save_chunks(pieces(response, url, self.place, self._clock), target, max_bytes, self.place)

    def read(self, response: urllib3.BaseHTTPResponse, url: str) -> bytes:
        """Return the whole body of a small answer."""
        return whole(pieces(response, url, self.place, self._clock), url, self.place)

    def read_json(self, response: urllib3.BaseHTTPResponse, url: str) -> Any:
        """Return the JSON of a small answer."""
        try:
            return json.loads(self.read(response, url))
        except ValueError as error:
            raise self.place.invalid(f"{self.place.field}: {url} answered no JSON: {error}") from error

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None
    ) -> urllib3.BaseHTTPResponse:
        field = self.place.field
        host, port = check_url(url, field, plain=self._plain)
        resolve(host, port, field)
        try:
            return self._pool.request(
                method, url, headers=headers, body=body, redirect=False, preload_content=False, decode_content=False
            )
        except RefusedAddressError as error:
            raise InvalidConfigError(f"{field}: {url}: {error.message}") from error
        except HTTPError as error:
            raise self._unreachable(url, host, error) from error

    def _unreachable(self, url: str, host: str, error: HTTPError) -> Exception:
        cause = _certificate_error(error)
        if cause is not None:
            return InvalidConfigError(
                f"{self.place.field}: the certificate of {host} is not trusted ({cause.verify_message}); "
                "name a ConfigMap with its CA in `caConfigMapRef`"
            )
        return TransientError(f"{self.place.field}: {url} was not read: {error}")

    def _refused(self, status: int, url: str) -> Exception:
        what = f"{url} answered {status} {http.client.responses.get(status, '')}".rstrip()
        return status_error(status, what, self.place)


def status_error(status: int, what: str, place: Place) -> Exception:
    """Return the error for an HTTP status that was not hoped for; `what` says who answered it."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return place.denied(what)
    temporary = status >= 500 or status in PASSING
    message = f"{place.field}: {what}"
    return TransientError(message) if temporary else MissingReferenceError(message)


def save_chunks(chunks: Iterable[bytes], target: Path, max_bytes: int, place: Place) -> Saved:
    """Write chunks into a new file, flushed to disk; more than `max_bytes` raises the place's error."""
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise place.invalid(f"{place.field}: the file is larger than {max_bytes} bytes")
            digest.update(chunk)
            out.write(chunk)
    fsync_file(target)
    return Saved(digest.hexdigest(), size)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return the failed verification behind a library's error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
