"""Repositories of a Hugging Face hub at a fixed commit, read by its two documented URLs for listings and files.

`huggingface_hub` is not used: it is configured by environment variables and globals, and does not limit downloads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urljoin

from loraform_api.sources import HUGGING_FACE
from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.remote.web import MAX_PAGES, HTTPClient, SavedFile


class HubKind(StrEnum):
    """Kind of repository, as the hub's URLs name it."""

    MODEL = "models"
    DATASET = "datasets"


@dataclass(frozen=True, slots=True)
class HubFile:
    """An entry of a repository's listing; `size` is in bytes."""

    path: str
    size: int
    sha256: str | None
    """Digest of a file in LFS; the hub has none for other files."""


class HubRepository:
    """One repository at one commit."""

    def __init__(
        self, access: RemoteAccess, kind: HubKind, name: str, revision: str, endpoint: str = HUGGING_FACE
    ) -> None:
        self.access = access
        self.name = name
        self._http = HTTPClient(access)
        token = access.values.get("token")
        self._authorization = None if token is None else f"Bearer {token}"
        prefix = "" if kind is HubKind.MODEL else f"{kind}/"
        self._files = f"{endpoint}/{prefix}{name}/resolve/{revision}"
        self._tree = f"{endpoint}/api/{kind}/{name}/tree/{revision}"

    def list(self) -> list[HubFile]:
        """Return the files of the repository's top folder; raises StageError."""
        url, files = self._tree, list[HubFile]()
        for _ in range(MAX_PAGES):
            with self._http.open(url, authorization=self._authorization) as response:
                entries = self._http.read_json(response, url)
                next_url = _next(response.headers.get("Link"))
            try:
                files += [_file(entry) for entry in entries if entry["type"] == "file"]
            except (KeyError, TypeError, AttributeError) as error:
                raise self.access.invalid(
                    f"{self.access.field}: the response of {url} is not a file listing"
                ) from error
            if next_url is None:
                return files
            url = urljoin(self._tree, next_url)
            if not url.startswith(self._tree):
                raise self.access.invalid(
                    f"{self.access.field}: the listing of {self.name} continues at another address, which is refused"
                )
        raise self.access.invalid(f"{self.access.field}: {self.name} has too many files")

    def save(self, path: str, target: Path, max_bytes: int) -> SavedFile:
        """Stream one file into `target`; raises StageError, also above `max_bytes`."""
        url = f"{self._files}/{quote(path)}"
        return self._http.save(url, target, max_bytes=max_bytes, authorization=self._authorization)


def _file(entry: dict[str, object]) -> HubFile:
    large = entry.get("lfs")
    sha256 = str(large["oid"]) if isinstance(large, dict) else None
    size = entry["size"]
    if not isinstance(size, int):
        raise TypeError("size")
    return HubFile(str(entry["path"]), size, sha256)


def _next(link: str | None) -> str | None:
    """Return the URL of `rel="next"` in a Link header; None without one."""
    for part in (link or "").split(","):
        target, _, parameters = part.partition(";")
        if 'rel="next"' in parameters:
            return target.strip().strip("<>")
    return None
