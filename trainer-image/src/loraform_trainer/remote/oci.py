"""Reads and writes artifacts of a registry by the OCI distribution API; each blob is checked against its digest.

oras-py is not used: it has no timeouts, retries for minutes, and sends credentials to any realm.
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
from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.remote.web import MAX_BYTES, HTTPClient
from loraform_trainer.runtime.errors import MissingReferenceError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
READABLE_TYPES = (MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
TITLE = "org.opencontainers.image.title"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PARAMETER = re.compile(r'(\w+)="([^"]*)"')
DOCKER_HUB = {"docker.io": "registry-1.docker.io"}
"""Host of the API by the name of the registry, where they differ."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer or config of an artifact; `size` is in bytes."""

    digest: str
    """`sha256:` and 64 hexadecimal digits."""
    size: int
    media_type: str
    title: str | None

    @property
    def is_tar(self) -> bool:
        """Whether it is a tar+gzip archive, by its media type."""
        return self.media_type.endswith(("tar+gzip", "tar.gzip"))

    def descriptor(self) -> dict[str, Any]:
        """Return its descriptor for a manifest."""
        descriptor: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return descriptor if self.title is None else {**descriptor, "annotations": {TITLE: self.title}}


class Repository:
    """One repository of a registry; `name` is `<registry>/<repository>`."""

    def __init__(self, access: RemoteAccess, name: str) -> None:
        registry, _, path = name.partition("/")
        self.access = access
        self.name = name
        self._http = HTTPClient(access)
        self._api = f"https://{DOCKER_HUB.get(registry, registry)}/v2/{path}"
        self._authorization: str | None = None

    def manifest(self, reference: str) -> tuple[dict[str, Any], str] | None:
        """Return the manifest of a tag or digest, and its digest; None when it does not exist. Raises StageError."""
        url = f"{self._api}/manifests/{reference}"
        headers = {"Accept": ", ".join(READABLE_TYPES)}
        with self._open("GET", url, headers=headers, accept=(HTTPStatus.OK, HTTPStatus.NOT_FOUND)) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return None
            content = self._http.read(response, url)
        digest = _digest(content)
        if DIGEST.fullmatch(reference) and digest != reference:
            raise self.access.invalid(f"{self.access.field}: {url} has digest {digest}")
        try:
            manifest = json.loads(content)
        except ValueError as error:
            raise self.access.invalid(f"{self.access.field}: {url} is not JSON: {error}") from error
        if not isinstance(manifest, dict) or not isinstance(manifest.get("layers"), list):
            raise self.access.invalid(
                f"{self.access.field}: {url} is not the manifest of an artifact (is it an image index?)"
            )
        return manifest, digest

    def layers(self, digest: str) -> list[Blob]:
        """Return the layers of an artifact; raises MissingReferenceError when no artifact has this digest."""
        response = self.manifest(digest)
        if response is None:
            raise MissingReferenceError(f"{self.access.field}: {self.name} has no artifact {digest}")
        return [self._layer(entry) for entry in response[0]["layers"]]

    def pull(self, blob: Blob, target: Path, max_bytes: int) -> str:
        """Write a blob to `target` and return its sha256; raises `access.invalid` for a wrong size or digest."""
        if blob.size > max_bytes:
            raise self.access.invalid(f"{self.access.field}: {blob.title} has {blob.size} bytes, more than {max_bytes}")
        url = f"{self._api}/blobs/{blob.digest}"
        with self._open("GET", url) as response:
            saved = self._http.write(response, url, target, max_bytes)
        if f"sha256:{saved.sha256}" != blob.digest:
            raise self.access.invalid(f"{self.access.field}: blob {blob.digest} has sha256 {saved.sha256}")
        return saved.sha256

    def push(self, blob: Blob, content: IO[bytes]) -> None:
        """Upload a blob unless the registry has it; raises StageError."""
        expected = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        with self._open("HEAD", f"{self._api}/blobs/{blob.digest}", accept=expected) as response:
            if response.status == HTTPStatus.OK:
                return
        start = f"{self._api}/blobs/uploads/"
        with self._open("POST", start, headers={"Content-Length": "0"}, accept=(HTTPStatus.ACCEPTED,)) as response:
            upload = urljoin(start, response.headers.get("Location", ""))
        upload += ("&" if urlsplit(upload).query else "?") + urlencode({"digest": blob.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with self._open("PUT", upload, headers=headers, body=content, accept=(HTTPStatus.CREATED,)):
            pass

    def tag(self, tag: str, manifest: Mapping[str, Any]) -> str:
        """Upload a manifest under a tag; return its digest. Raises StageError."""
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
            valid = DIGEST.fullmatch(blob.digest) and blob.size >= 0  # the digest becomes part of a URL
        except (AttributeError, KeyError, TypeError):
            valid = None
        if not valid:
            raise self.access.invalid(
                f"{self.access.field}: {self.name} has a layer without a sha256 digest and a size"
            )
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
        """Yield the response of a request; after a 401 of this registry, authenticate and repeat it once."""
        own = url.startswith(self._api)  # an upload may be at another host, which must not get the credentials
        send = functools.partial(self._http.open, url, method=method, headers=headers, body=body)
        with send(
            authorization=self._authorization if own else None,
            accept=(*accept, HTTPStatus.UNAUTHORIZED) if own else accept,
        ) as response:
            if response.status != HTTPStatus.UNAUTHORIZED or not own:
                yield response
                return
            challenge = response.headers.get("WWW-Authenticate", "")
        self._authorization = self._authenticate(challenge)
        if body is not None and not isinstance(body, bytes):
            body.seek(0)
        with send(authorization=self._authorization, accept=accept) as response:
            yield response

    def _authenticate(self, challenge: str) -> str:
        """Return the Authorization header for a WWW-Authenticate challenge; raises AccessDeniedError."""
        scheme, _, rest = challenge.partition(" ")
        denied = self.access.denied(f"{self.name} answered 401 Unauthorized")
        if scheme.lower() == "basic" and self.access.basic is not None:
            return f"Basic {self.access.basic}"
        if scheme.lower() != "bearer":
            raise denied
        if token := self.access.values.get("token"):
            return f"Bearer {token}"
        parameters = dict(PARAMETER.findall(rest))
        if "realm" not in parameters:
            raise denied
        query = urlencode({key: parameters[key] for key in ("service", "scope") if key in parameters})
        url = f"{parameters['realm']}?{query}"
        basic = None if self.access.basic is None else f"Basic {self.access.basic}"
        with self._http.open(url, authorization=basic) as response:
            token_response = self._http.read_json(response, url)
        issued = _issued_token(token_response)
        if issued is None:
            raise denied
        return f"Bearer {issued}"


def fetch(access: RemoteAccess, reference: str, path: str, target: Path) -> None:
    """Write the file `path` of an artifact `<registry>/<repository>@<digest>` to `target`; raises StageError.

    It is the layer with this title, or a member of a tar+gzip layer.
    """
    name, _, digest = reference.partition("@")
    repository = Repository(access, name)
    layers = repository.layers(digest)
    titled = next((layer for layer in layers if layer.title == path and not layer.is_tar), None)
    if titled is not None:
        repository.pull(titled, target, MAX_BYTES)
        return
    packed = target.with_name(f"{target.name}.tar.gz")
    for layer in (layer for layer in layers if layer.is_tar):
        repository.pull(layer, packed, MAX_BYTES)
        try:
            if archive.extract(packed, path, target, access):
                return
        finally:
            packed.unlink()
    titles = ", ".join(sorted(layer.title for layer in layers if layer.title)[:10])
    raise MissingReferenceError(
        f"{access.field}: {reference} has no file {path}; titles of its layers: {titles or 'none'}"
    )


def _issued_token(response: Any) -> str | None:
    token = response.get("token") or response.get("access_token") if isinstance(response, dict) else None
    return token if isinstance(token, str) else None


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
