"""Repositories of a Hugging Face hub at a fixed commit, by the two documented URLs that a file needs.

`huggingface_hub` is not used: it is configured by environment at import and by globals, and caps no download.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, urljoin

from loraform_api.sources import HUGGING_FACE
from loraform_trainer.remote.identity import Place
from loraform_trainer.remote.web import MAX_PAGES, Saved, Web


class HubKind(StrEnum):
    MODEL = "models"
    DATASET = "datasets"


@dataclass(frozen=True, slots=True)
class HubFile:
    path: str
    size: int
    sha256: str | None
    """Digest of a large file (LFS); the hub tells none of others."""


class HubRepository:
    """One repository at one commit."""

    def __init__(self, place: Place, kind: HubKind, name: str, revision: str, endpoint: str = HUGGING_FACE) -> None:
        self.place = place
        self.name = name
        self._web = Web(place)
        token = place.values.get("token")
        self._authorization = None if token is None else f"Bearer {token}"
        prefix = "" if kind is HubKind.MODEL else f"{kind}/"
        self._files = f"{endpoint}/{prefix}{name}/resolve/{revision}"
        self._tree = f"{endpoint}/api/{kind}/{name}/tree/{revision}"

    def list(self) -> list[HubFile]:
        """Return the files of the repository's top folder."""
        url, found = self._tree, list[HubFile]()
        for _ in range(MAX_PAGES):
            with self._web.open(url, authorization=self._authorization) as response:
                entries = self._web.read_json(response, url)
                following = _next(response.headers.get("Link"))
            try:
                found += [_file(entry) for entry in entries if entry["type"] == "file"]
            except (KeyError, TypeError, AttributeError) as error:
                raise self.place.invalid(f"{self.place.field}: {url} answered no listing of files") from error
            if following is None:
                return found
            url = urljoin(self._tree, following)
            if not url.startswith(self._tree):
                raise self.place.invalid(f"{self.place.field}: the listing of {self.name} goes on at another address")
        raise self.place.invalid(f"{self.place.field}: {self.name} has too many files")

    def save(self, path: str, target: Path, max_bytes: int) -> Saved:
        """Stream one file into `target`."""
        url = f"{self._files}/{quote(path)}"
        return self._web.save(url, target, max_bytes=max_bytes, authorization=self._authorization)


def _file(entry: dict[str, object]) -> HubFile:
    large = entry.get("lfs")
    sha256 = str(large["oid"]) if isinstance(large, dict) else None
    size = entry["size"]
    if not isinstance(size, int):
        raise TypeError("size")
    return HubFile(str(entry["path"]), size, sha256)


def _next(link: str | None) -> str | None:
    """Return the target of `rel="next"` in a Link header."""
    for part in (link or "").split(","):
        target, _, parameters = part.partition(";")
        if 'rel="next"' in parameters:
            return target.strip().strip("<>")
    return None
