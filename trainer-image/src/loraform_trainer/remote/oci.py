"""Artifacts in a registry, by the OCI distribution API: what is read is held against its digest, blob by blob.

The API is spoken here and not by oras-py: that has no timeouts, retries for minutes, and answers any realm.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3

from loraform_trainer.remote import archive
from loraform_trainer.remote.identity import Place
from loraform_trainer.remote.web import MAX_BYTES, Web
from loraform_trainer.runtime.errors import MissingReferenceError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
READABLE_TYPES = (MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
TITLE = "org.opencontainers.image.title"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PARAMETER = re.compile(r'(\w+)="([^"]*)"')
DOCKER_HUB = {"docker.io": "registry-1.docker.io"}
"""Names of registries whose API is elsewhere."""


@dataclass(frozen=True, slots=True)
class Blob:
    digest: str
    """`sha256:…`, of the right form."""
    size: int
    media_type: str
    title: str | None

    @property
    def is_tar(self) -> bool:
        return self.media_type.endswith(("tar+gzip", "tar.gzip"))

    def descriptor(self) -> dict[str, Any]:
        """Return it as it stands in a manifest."""
        made: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return made if self.title is None else {**made, "annotations": {TITLE: self.title}}


class Repository:
    """One repository of a registry; `name` is `<registry>/<repository>`."""

    def __init__(self, place: Place, name: str) -> None:
        registry, _, path = name.partition("/")
        self.place = place
        self.name = name
        self._web = Web(place)
        self._api = f"https://{DOCKER_HUB.get(registry, registry)}/v2/{path}"
        self._authorization: str | None = None

    def manifest(self, reference: str) -> tuple[dict[str, Any], str] | None:
        """Return the manifest of a tag or digest, and its digest; None where there is none."""
        url = f"{self._api}/manifests/{reference}"
        headers = {"Accept": ", ".join(READABLE_TYPES)}
        with self._open("GET", url, headers=headers, accept=(HTTPStatus.OK, HTTPStatus.NOT_FOUND)) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return None
            content = self._web.read(response, url)
        found = _digest(content)
        if DIGEST.fullmatch(reference) and found != reference:
            raise self.place.invalid(f"{self.place.field}: {url} has digest {found}")
        try:
            manifest = json.loads(content)
        except ValueError as error:
            raise self.place.invalid(f"{self.place.field}: {url} is not JSON: {error}") from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("layers"), list):
            raise self.place.invalid(f"{self.place.field}: {url} is not the manifest of an artifact (an image index?)")
        return manifest, found

    def layers(self, digest: str) -> list[Blob]:
        """Return the layers of an artifact; raises MissingReferenceError where there is none of this digest."""
        found = self.manifest(digest)
        if found is None:
            raise MissingReferenceError(f"{self.place.field}: {self.name} has no artifact {digest}")
        return [self._layer(entry) for entry in found[0]["layers"]]

    def pull(self, blob: Blob, target: Path, max_bytes: int) -> str:
        """Write a blob to `target`; return its sha256, which is the one of its digest."""
        if blob.size > max_bytes:
            raise self.place.invalid(f"{self.place.field}: {blob.title} has {blob.size} bytes, more than {max_bytes}")
        url = f"{self._api}/blobs/{blob.digest}"
        with self._open("GET", url) as response:
            saved = self._web.write(response, url, target, max_bytes)
        if f"sha256:{saved.sha256}" != blob.digest:
            raise self.place.invalid(f"{self.place.field}: blob {blob.digest} has sha256 {saved.sha256}")
        return saved.sha256

    def push(self, blob: Blob, content: IO[bytes]) -> None:
        """Store a blob, unless it is there."""
        known = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        with self._open("HEAD", f"{self._api}/blobs/{blob.digest}", accept=known) as response:
            if response.status == HTTPStatus.OK:
                return
        begin = f"{self._api}/blobs/uploads/"
        with self._open("POST", begin, headers={"Content-Length": "0"}, accept=(HTTPStatus.ACCEPTED,)) as response:
            upload = urljoin(begin, response.headers.get("Location", ""))
        upload += ("&" if urlsplit(upload).query else "?") + urlencode({"digest": blob.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with self._open("PUT", upload, headers=headers, body=content, accept=(HTTPStatus.CREATED,)):
            pass

    def tag(self, tag: str, manifest: Mapping[str, Any]) -> str:
        """Store a manifest under a tag; return its digest."""
        content = json.dumps(manifest, indent=2, sort_keys=True).encode()
        url = f"{self._api}/manifests/{tag}"
        with self._open(
            "PUT", url, headers={"Content-Type": MANIFEST_TYPE}, body=content, accept=(HTTPStatus.CREATED,)
        ):
            return _digest(content)

    def _layer(self, entry: Any) -> Blob:
        try:
            titles = entry.get("annotations") or {}
            blob = Blob(entry["digest"], entry["size"], str(entry.get("mediaType", "")), titles.get(TITLE))
            right = DIGEST.fullmatch(blob.digest) and blob.size >= 0  # the digest becomes a part of a URL
        except (AttributeError, KeyError, TypeError):
            right = None
        if not right:
            raise self.place.invalid(f"{self.place.field}: {self.name} has a layer without a sha256 digest and a size")
        return blob

    @contextmanager
    def _open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
        accept: tuple[int, ...] = (HTTPStatus.OK,),
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Send a request; when the registry asks who we are, answer and send it once more."""
        own = url.startswith(self._api)  # an upload may lead elsewhere, where our credentials have no business
        send = functools.partial(self._web.open, url, method=method, headers=headers, body=body)
        with send(
            authorization=self._authorization if own else None,
            accept=(*accept, HTTPStatus.UNAUTHORIZED) if own else accept,
        ) as response:
            if response.status != HTTPStatus.UNAUTHORIZED or not own:
                yield response
                return
            challenge = response.headers.get("WWW-Authenticate", "")
        self._authorization = self._answer(challenge)
        if body is not None and not isinstance(body, bytes):
            body.seek(0)
        with send(authorization=self._authorization, accept=accept) as response:
            yield response

    def _answer(self, challenge: str) -> str:
        """Return the Authorization header that a challenge asks for."""
        scheme, _, rest = challenge.partition(" ")
        denied = self.place.denied(f"{self.name} answered 401 Unauthorized")
        if scheme.lower() == "basic" and self.place.basic is not None:
            return f"Basic {self.place.basic}"
        if scheme.lower() != "bearer":
            raise denied
        if token := self.place.values.get("token"):
            return f"Bearer {token}"
        asked = dict(PARAMETER.findall(rest))
        if "realm" not in asked:
            raise denied
        query = urlencode({key: asked[key] for key in ("service", "scope") if key in asked})
        url = f"{asked['realm']}?{query}"
        basic = None if self.place.basic is None else f"Basic {self.place.basic}"
        with self._web.open(url, authorization=basic) as response:
            answer = self._web.read_json(response, url)
        issued = answer.get("token") or answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(issued, str):
            raise denied
        return f"Bearer {issued}"


def fetch(place: Place, reference: str, path: str, target: Path) -> None:
    """Write one file of an artifact `<registry>/<repository>@<digest>`: a layer of this title, or in a tar layer."""
    name, _, digest = reference.partition("@")
    repository = Repository(place, name)
    layers = repository.layers(digest)
    titled = next((layer for layer in layers if layer.title == path and not layer.is_tar), None)
    if titled is not None:
        repository.pull(titled, target, MAX_BYTES)
        return
    packed = target.with_name(f"{target.name}.tar.gz")
    for layer in (layer for layer in layers if layer.is_tar):
        repository.pull(layer, packed, MAX_BYTES)
        try:
            if archive.extract(packed, path, target, place):
                return
        finally:
            packed.unlink()
    titles = ", ".join(sorted(layer.title for layer in layers if layer.title)[:10])
    raise MissingReferenceError(
        f"{place.field}: {reference} has no file {path}; titles of its layers: {titles or 'none'}"
    )


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
