"""Reads response bodies in chunks and gives up on a server that sends too slowly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import urllib3
from urllib3.exceptions import HTTPError

from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.runtime.errors import TransientError

PATIENCE_SECONDS = 60.0
"""Time of waiting for data after which the rate is checked."""
LEAST_BYTES = 1 << 20
"""Bytes that must arrive in that time. A read timeout cannot enforce it: one byte satisfies it."""
MAX_DOCUMENT_BYTES = 8 << 20
"""Largest body that is read into memory: manifests and listings."""
CHUNK_BYTES = 1 << 16

Clock = Callable[[], float]
"""Returns seconds since any fixed time."""


def body_chunks(
    response: urllib3.BaseHTTPResponse, url: str, access: RemoteAccess, clock: Clock = time.monotonic
) -> Iterator[bytes]:
    """Yield the body of the response of `url`; raises TransientError when it is cut off or too slow."""
    waited, size = 0.0, 0
    while True:
        started = clock()
        try:
            chunk = response.read1(CHUNK_BYTES, decode_content=False)  # `read` would wait for all 64 KiB
        except HTTPError as error:
            raise TransientError(f"{access.field}: {url} was not read to its end: {error}") from error
        if not chunk:
            return
        waited += clock() - started
        size += len(chunk)
        if waited >= PATIENCE_SECONDS:
            if size < LEAST_BYTES:
                raise TransientError(f"{access.field}: {url} was too slow: {size / waited:.1f} bytes/s for a minute")
            waited, size = 0.0, 0
        yield chunk


def read_document(body: Iterator[bytes], url: str, access: RemoteAccess) -> bytes:
    """Return the whole `body` of the response of `url`; raises `access.invalid` above `MAX_DOCUMENT_BYTES`."""
    parts, size = [], 0
    for chunk in body:
        size += len(chunk)
        if size > MAX_DOCUMENT_BYTES:
            raise access.invalid(f"{access.field}: {url} has more than {MAX_DOCUMENT_BYTES} bytes")
        parts.append(chunk)
    return b"".join(parts)
