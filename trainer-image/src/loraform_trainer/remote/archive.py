"""Extracts one regular file from an untrusted tar+gzip archive: no links, no path traversal, bounded size."""

from __future__ import annotations

import gzip
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.remote.web import MAX_BYTES, save_chunks
from loraform_trainer.runtime.files import CHUNK

MAX_UNPACKED_BYTES = 16 << 30
"""Largest uncompressed size of an archive."""


class _Unpacked(gzip.GzipFile):
    """The uncompressed archive; raises `access.invalid` after `MAX_UNPACKED_BYTES`."""

    def __init__(self, archive: Path, access: RemoteAccess) -> None:
        super().__init__(archive, "rb")
        self._access = access
        self._bytes_left = MAX_UNPACKED_BYTES

    @override
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise self._access.invalid(
                f"{self._access.field}: the archive is larger than {MAX_UNPACKED_BYTES} bytes unpacked"
            )
        return data


def extract(archive: Path, path: str, target: Path, access: RemoteAccess) -> bool:
    """Write the member `path` of a tar+gzip file to `target`; return whether it exists.

    Raises `access.invalid` for a damaged or too large archive, and for a member that is no regular file.
    """
    try:
        with _Unpacked(archive, access) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                if posixpath.normpath(member.name) == path:
                    if not member.isreg():
                        raise access.invalid(f"{access.field}: {path} in the archive is not a regular file")
                    save_chunks(_content(tar, member), target, MAX_BYTES, access)
                    return True
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise access.invalid(f"{access.field}: the archive is not a tar+gzip file: {error}") from error
    return False


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = tar.extractfile(member)
    while stream is not None and (chunk := stream.read(CHUNK)):
        yield chunk
