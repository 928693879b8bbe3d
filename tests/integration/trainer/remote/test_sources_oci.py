"""A file of an artifact, from a real registry (CNCF distribution) with an authority of its own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from loraform_api.failures import ExitCode

from ...waiting import free_port
from .https_server import Server
from .processes import registry_config, running, tool

WHERE = "source 'data' of dataset.sources, oci.reference"
FILE = "application/octet-stream"
TAR = "application/vnd.oci.image.layer.v1.tar+gzip"


def tar(**members: bytes | str) -> bytes:
    """Pack files, and links where a member is text."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, what in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            if isinstance(what, bytes):
                info.size = len(what)
                archive.addfile(info, io.BytesIO(what))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, what
                archive.addfile(info)
    return packed.getvalue()


def test_a_titled_layer_is_read(run: Any, registry: Any, content: bytes) -> None:
    digest = registry.push("data/rows", [("other.jsonl", FILE, b"other"), ("sets/rows.jsonl", FILE, content)])
    place = {"reference": f"{registry.host}/data/rows@{digest}", "path": "sets/rows.jsonl"}
    assert run.fetch("oci", place, registry.secret).read_bytes() == content


def test_a_file_in_a_tar_layer_is_read(run: Any, registry: Any, content: bytes) -> None:
    layers = [("first", TAR, tar(readme=b"x")), (None, TAR, tar(a=b"", **{".__sets__rows.parquet": content}))]
    digest = registry.push("data/packed", layers)
    place = {"reference": f"{registry.host}/data/packed@{digest}", "path": "sets/rows.parquet"}
    file = run.fetch("oci", place, registry.secret)
    assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == ["dataset.sources.data.parquet"]


@pytest.mark.parametrize(
    ("layer", "path", "code", "message"),
    [
        (tar(link="/etc/passwd"), "link", ExitCode.DATASET_INVALID, "link in the archive is not a regular file"),
        (tar(**{"..__up": b"x"}), "up", ExitCode.MISSING_REFERENCE, "has no file up; titles of its layers: packed"),
        (b"no archive", "rows", ExitCode.DATASET_INVALID, "is not a tar+gzip file"),
        (tar(rows=b"x" * 5000)[:60], "rows", ExitCode.DATASET_INVALID, "is not a tar+gzip file"),
    ],
    ids=["a link", "a file above", "no archive", "a cut archive"],  # gzip writes the time, and ids must not differ
)
def test_archives_that_play_tricks_are_refused(
    run: Any, caught: Any, registry: Any, layer: bytes, path: str, code: ExitCode, message: str
) -> None:
    digest = registry.push("data/tricks", [("packed", TAR, layer)])
    with caught:
        run.fetch("oci", {"reference": f"{registry.host}/data/tricks@{digest}", "path": path}, registry.secret)
    caught.says(code, message, WHERE)


def test_an_absent_artifact_is_named(run: Any, caught: Any, registry: Any) -> None:
    reference = f"{registry.host}/data/absent@sha256:{'0' * 64}"
    with caught:
        run.fetch("oci", {"reference": reference, "path": "rows.jsonl"}, registry.secret)
    caught.says(ExitCode.MISSING_REFERENCE, f"data/absent has no artifact sha256:{'0' * 64}", WHERE)


@pytest.mark.parametrize("secret", [None, {"username": "robot", "password": "wrong"}])
def test_a_closed_registry_names_the_secret(
    run: Any, caught: Any, registry: Any, secret: dict[str, str] | None
) -> None:
    with caught:
        run.fetch("oci", {"reference": f"{registry.host}/data/x@sha256:{'0' * 64}", "path": "rows.jsonl"}, secret)
    caught.says(ExitCode.ACCESS_DENIED, "401 Unauthorized", "secretRef", WHERE)


def artifact(server: Server, blob: bytes, **entry: Any) -> dict[str, str]:
    """Serve an artifact of one layer without a registry; return the place."""
    layer = {
        "mediaType": FILE, "digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob),
        "annotations": {"org.opencontainers.image.title": "rows.jsonl"}, **entry,
    }  # fmt: skip
    manifest = json.dumps({"schemaVersion": 2, "layers": [layer]}).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    server.answers[f"/v2/rows/manifests/{digest}"] = (200, {}, manifest)
    return {"reference": f"127.0.0.1:{server.port}/rows@{digest}", "path": "rows.jsonl"}


def test_a_registry_that_lies_is_found_out(run: Any, caught: Any, server: Server, content: bytes) -> None:
    place = artifact(server, content)
    server.answers[f"/v2/rows/blobs/sha256:{hashlib.sha256(content).hexdigest()}"] = (200, {}, b"lies")
    with caught:
        run.fetch("oci", place)
    caught.says(ExitCode.DATASET_INVALID, f"has sha256 {hashlib.sha256(b'lies').hexdigest()}", WHERE)
    [manifest] = [path for path in server.answers if "manifests" in path]
    server.answers[manifest] = (200, {}, b"{}")
    with caught:
        run.fetch("oci", place)
    caught.says(ExitCode.DATASET_INVALID, f"has digest sha256:{hashlib.sha256(b'{}').hexdigest()}", WHERE)


@pytest.mark.parametrize("entry", [{"digest": "sha256:../../evil"}, {"size": -1}, {"digest": None}, {"size": "1"}])
def test_a_layer_without_digest_or_size_is_refused(
    run: Any, caught: Any, server: Server, content: bytes, entry: dict[str, Any]
) -> None:
    with caught:
        run.fetch("oci", artifact(server, content, **entry))
    caught.says(ExitCode.DATASET_INVALID, "has a layer without a sha256 digest and a size", WHERE)


def test_a_layer_beyond_the_cap_is_not_begun(run: Any, caught: Any, server: Server, content: bytes) -> None:
    place = artifact(server, content, size=3 << 30)
    with caught:
        run.fetch("oci", place)
    caught.says(ExitCode.DATASET_INVALID, "rows.jsonl has 3221225472 bytes, more than", WHERE)
    assert not any("blobs" in path for path, _ in server.seen)


def test_a_blob_elsewhere_is_fetched_without_our_credentials(
    run: Any, server: Server, elsewhere: Server, content: bytes
) -> None:
    place = artifact(server, content)
    digest = hashlib.sha256(content).hexdigest()
    basic = "Basic " + base64.b64encode(b"u:p").decode()
    server.secured["/v2/"] = basic
    server.answers[f"/v2/rows/blobs/sha256:{digest}"] = (307, {"Location": elsewhere.url("/signed?x=1")}, b"")
    elsewhere.answers["/signed?x=1"] = (200, {}, content)
    assert run.fetch("oci", place, {"username": "u", "password": "p"}).read_bytes() == content
    assert server.sent(f"/v2/rows/blobs/sha256:{digest}") == basic
    assert elsewhere.seen == [("/signed?x=1", None)]


class Tokens:
    """A token service: it answers with a token for whoever gives the password, as the registry's protocol says."""

    def __init__(self, server: Server, tls: tuple[Path, Path]) -> None:
        self.server = server
        self._certificate, self._key = tls

    def issue(self, host: str, repository: str) -> None:
        """Serve the token that the registry at `host` asks for."""
        der = x509.load_pem_x509_certificate(self._certificate.read_bytes()).public_bytes(Encoding.DER)
        now = int(time.time())
        claims = {
            "iss": "tokens", "aud": host, "sub": "robot", "iat": now, "nbf": now - 10, "exp": now + 300, "jti": "1",
            "access": [{"type": "repository", "name": repository, "actions": ["pull", "push"]}],
        }  # fmt: skip
        headers = {"x5c": [base64.b64encode(der).decode()]}
        token = jwt.encode(claims, self._key.read_bytes(), algorithm="ES256", headers=headers)
        body = json.dumps({"token": token}).encode()
        query = urlencode({"service": host, "scope": f"repository:{repository}:pull"})
        self.server.answers[f"/token?{query}"] = (200, {}, body)


@pytest.fixture
def tokens(tmp_path: Path, tls: tuple[Path, Path], registry: Any, elsewhere: Server) -> Iterator[tuple[Tokens, Any]]:
    """A registry that sends its clients to a token service, as public ones do."""
    folder, port = tmp_path / "token-registry", free_port()
    folder.mkdir()
    host = f"127.0.0.1:{port}"
    auth = {
        "token": {
            "realm": elsewhere.url("/token"), "service": host, "issuer": "tokens", "rootcertbundle": str(tls[0]),
        }
    }  # fmt: skip
    config = registry_config(folder, port, tls, auth)
    (folder / "blobs").symlink_to(Path(registry.blobs))
    with running([tool("docker-registry"), "serve", config], port, folder):
        yield Tokens(elsewhere, tls), host


def test_a_token_service_is_asked_with_the_password(
    run: Any, registry: Any, tokens: tuple[Tokens, str], content: bytes
) -> None:
    service, host = tokens
    basic = "Basic " + base64.b64encode(b"robot:pass").decode()
    service.server.secured["/token"] = basic
    service.issue(host, "data/tokens")
    digest = registry.push("data/tokens", [("rows.jsonl", FILE, content)])
    place = {"reference": f"{host}/data/tokens@{digest}", "path": "rows.jsonl"}
    assert run.fetch("oci", place, {"username": "robot", "password": "pass"}).read_bytes() == content
    assert len(service.server.seen) == 1


def test_a_token_service_that_says_no_names_the_secret(run: Any, caught: Any, tokens: tuple[Tokens, str]) -> None:
    service, host = tokens
    service.server.secured["/token"] = "Basic other"
    with caught:
        run.fetch(
            "oci", {"reference": f"{host}/data/x@sha256:{'0' * 64}", "path": "x"}, {"username": "u", "password": "p"}
        )
    caught.says(ExitCode.ACCESS_DENIED, "/token", "Secret 'our-secret' in `secretRef` does not grant access", WHERE)
