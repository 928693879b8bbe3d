"""One regular file out of a tar+gzip archive that we did not make: no links, no path tricks, no bombs."""

from __future__ import annotations

import gzip
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from loraform_trainer.remote.identity import Place
from loraform_trainer.remote.web import MAX_BYTES, save_chunks
from loraform_trainer.runtime.files import CHUNK

MAX_UNPACKED_BYTES = 16 << 30
"""Largest archive that is searched, unpacked."""


class _Unpacked(gzip.GzipFile):
    """The archive without its compression; raises the place's error after `MAX_UNPACKED_BYTES`."""

    def __init__(self, archive: Path, place: Place) -> None:
        super().__init__(archive, "rb")
        self._place = place
        self._left = MAX_UNPACKED_BYTES

    @override
    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._left -= len(data)
        if self._left < 0:
            raise self._place.invalid(
                f"{self._place.field}: the archive is larger than {MAX_UNPACKED_BYTES} bytes unpacked"
            )
        return data


def extract(archive: Path, path: str, target: Path, place: Place) -> bool:
    """Write the member `path` of a tar+gzip file to `target`; say whether there is one."""
    try:
        with _Unpacked(archive, place) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                if posixpath.normpath(member.name) == path:
                    if not member.isreg():
                        raise place.invalid(f"{place.field}: {path} in the archive is not a regular file")
                    save_chunks(_content(tar, member), target, MAX_BYTES, place)
                    return True
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise place.invalid(f"{place.field}: the archive is not a tar+gzip file: {error}") from error
    return False


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = tar.extractfile(member)
    while stream is not None and (chunk := stream.read(CHUNK)):
        yield chunk
