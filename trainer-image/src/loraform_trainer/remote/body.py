"""Bodies of answers, piece by piece as they come: a server that sends next to nothing is given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import urllib3
from urllib3.exceptions import HTTPError

from loraform_trainer.remote.identity import Place
from loraform_trainer.runtime.errors import TransientError

PATIENCE_SECONDS = 60.0
LEAST_BYTES = 1 << 20
"""What must come in that time. Time-outs of reads do not see to it: one byte satisfies them."""
MAX_DOCUMENT_BYTES = 8 << 20
"""Largest answer that is read into memory: manifests and listings."""
PIECE = 1 << 16

Clock = Callable[[], float]
"""Seconds from any time on."""


def pieces(
    response: urllib3.BaseHTTPResponse, what: str, place: Place, clock: Clock = time.monotonic
) -> Iterator[bytes]:
    """Yield the body of the answer of `what`; raises TransientError when it breaks off, or comes too slowly."""
    waited, size = 0.0, 0
    while True:
        asked = clock()
        try:
            piece = response.read1(PIECE, decode_content=False)  # `read` would wait for all 64 KiB
        except HTTPError as error:
            raise TransientError(f"{place.field}: {what} was not read to its end: {error}") from error
        if not piece:
            return
        waited += clock() - asked
        size += len(piece)
        if waited >= PATIENCE_SECONDS:
            if size < LEAST_BYTES:
                raise TransientError(f"{place.field}: {what} came too slowly: {size / waited:.1f} bytes/s for a minute")
            waited, size = 0.0, 0
        yield piece


def whole(body: Iterator[bytes], what: str, place: Place) -> bytes:
    """Return a small body."""
    parts, size = [], 0
    for piece in body:
        size += len(piece)
        if size > MAX_DOCUMENT_BYTES:
            raise place.invalid(f"{place.field}: {what} has more than {MAX_DOCUMENT_BYTES} bytes")
        parts.append(piece)
    return b"".join(parts)
