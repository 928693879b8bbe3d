"""HTTP client for remote servers: checks each address, sends credentials to one host, streams, limits sizes."""

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

from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.remote.addresses import RefusedAddressError, check_url, guard, resolve
from loraform_trainer.remote.body import Clock, body_chunks, read_document
from loraform_trainer.runtime.errors import InvalidConfigError, MissingReferenceError, TransientError
from loraform_trainer.runtime.files import fsync_file

MAX_BYTES = 2 << 30
"""Largest file of rows, in bytes."""
MAX_PAGES = 100
"""Longest listing, in pages of about a thousand files each."""
MAX_REDIRECTS = 5
TIMEOUT = urllib3.Timeout(connect=20.0, read=60.0)
RETRIES = urllib3.Retry(
    total=2,
    other=0,  # an untrusted certificate stays untrusted
    redirect=False,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=("GET", "HEAD"),
    backoff_factor=0.5,
    raise_on_status=False,
    respect_retry_after_header=False,  # a server could demand hours; another pod retries later
)
TEMPORARY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.PRECONDITION_FAILED)
"""4xx statuses that another pod may not get; 412 means that an object changed after it was listed."""
REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A written file: its sha256 in hexadecimal and its size in bytes."""

    sha256: str
    size: int


class HTTPClient:
    """An HTTP client for one server. `plain` also allows http, for content inside the cluster that a digest pins."""

    def __init__(self, access: RemoteAccess, *, plain: bool = False, clock: Clock = time.monotonic) -> None:
        guard()
        self.access = access
        self._plain = plain
        self._clock = clock
        context = ssl.create_default_context(cafile=None if access.ca_file is None else str(access.ca_file))
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
        """Yield the response with its body unread when its status is in `accept`; follow redirects of GET and HEAD.

        `authorization` is sent only to the host of `url`. Raises InvalidConfigError (URL, address, certificate),
        AccessDeniedError (401, 403), MissingReferenceError (other 4xx) and TransientError (network, 5xx).
        """
        request_headers = {"User-Agent": "loraform", "Accept-Encoding": "identity", **(headers or {})}
        if authorization is not None:
            request_headers["Authorization"] = authorization
        current = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, current, request_headers, body)
            try:
                target = response.headers.get("Location")
                if response.status in REDIRECTS and target and method in ("GET", "HEAD"):
                    previous, current = current, urljoin(current, target)
                    if _origin(previous) != _origin(current):
                        request_headers.pop("Authorization", None)
                    continue
                if response.status not in accept:
                    raise self._refused(response.status, current)
                yield response
                return
            finally:
                response.close()
        raise InvalidConfigError(f"{self.access.field}: {url} redirects more than {MAX_REDIRECTS} times")

    def save(
        self, url: str, target: Path, *, max_bytes: int = MAX_BYTES, authorization: str | None = None
    ) -> SavedFile:
        """Stream the body at `url` into `target`; raises like `open`, and `access.invalid` above `max_bytes`."""
        with self.open(url, authorization=authorization) as response:
            return self.write(response, url, target, max_bytes)

    def write(self, response: urllib3.BaseHTTPResponse, url: str, target: Path, max_bytes: int) -> SavedFile:
        """Stream a response's body into `target`, flushed to disk; raises StageError."""
        return save_chunks(body_chunks(response, url, self.access, self._clock), target, max_bytes, self.access)

    def read(self, response: urllib3.BaseHTTPResponse, url: str) -> bytes:
        """Return the body of a response of at most 8 MiB; raises StageError."""
        return read_document(body_chunks(response, url, self.access, self._clock), url, self.access)

    def read_json(self, response: urllib3.BaseHTTPResponse, url: str) -> Any:
        """Return the parsed JSON body of a response; raises StageError."""
        try:
            return json.loads(self.read(response, url))
        except ValueError as error:
            raise self.access.invalid(f"{self.access.field}: the response of {url} is not JSON: {error}") from error

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None
    ) -> urllib3.BaseHTTPResponse:
        field = self.access.field
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
                f"{self.access.field}: the certificate of {host} is not trusted ({cause.verify_message}); "
                "name a ConfigMap with its CA in `caConfigMapRef`"
            )
        return TransientError(f"{self.access.field}: {url} was not read: {error}")

    def _refused(self, status: int, url: str) -> Exception:
        response = f"{url} answered {status} {http.client.responses.get(status, '')}".rstrip()
        return status_error(status, response, self.access)


def status_error(status: int, response: str, access: RemoteAccess) -> Exception:
    """Return the error for an unexpected HTTP status; `response` names the URL and the status."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return access.denied(response)
    temporary = status >= 500 or status in TEMPORARY
    message = f"{access.field}: {response}"
    return TransientError(message) if temporary else MissingReferenceError(message)


def save_chunks(chunks: Iterable[bytes], target: Path, max_bytes: int, access: RemoteAccess) -> SavedFile:
    """Write chunks into a new file, flushed to disk; raises `access.invalid` above `max_bytes`."""
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise access.invalid(f"{access.field}: the file is larger than {max_bytes} bytes")
            digest.update(chunk)
            out.write(chunk)
    fsync_file(target)
    return SavedFile(digest.hexdigest(), size)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return the certificate error in the chain of causes of a library's error; None without one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
