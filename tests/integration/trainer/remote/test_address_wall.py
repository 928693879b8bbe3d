"""No place leads a run to a link-local or metadata address: not by its URL, not by a redirect, not by a name."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from loraform_api.failures import ExitCode
from loraform_api.run import FluxArtifact
from loraform_trainer.prepare import staging

from . import fake_hub
from .https_server import Server, serving

METADATA = "169.254.169.254"
NAME = "rows.example"
REVISION = fake_hub.REVISION
ZEROS = "0" * 64


def place(kind: str, host: str) -> dict[str, Any]:
    """A source of this kind at this host."""
    return {
        "http": {"url": f"https://{host}/rows", "sha256": ZEROS},
        "git": {"url": f"https://{host}/rows", "commit": REVISION, "path": "rows.jsonl"},
        "s3": {"endpoint": f"https://{host}", "bucket": "rows", "key": "rows.jsonl", "sha256": ZEROS},
        "huggingFace": {"endpoint": f"https://{host}", "repo": "a/b", "revision": REVISION, "path": "rows.jsonl"},
        "oci": {"reference": f"{host}/rows@sha256:{ZEROS}", "path": "rows.jsonl"},
        "fluxSource": {"kind": "Bucket", "name": "rows", "path": "rows.jsonl"},
    }[kind]


KINDS = ("http", "git", "s3", "huggingFace", "oci", "fluxSource")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", [METADATA, "100.100.100.200", "168.63.129.16"])
def test_an_address_in_the_url(run: Any, caught: Any, kind: str, host: str) -> None:
    run.flux["sources/data"] = FluxArtifact(url=f"http://{host}/rows.tar.gz", digest=ZEROS, revision="1")
    with caught:
        run.fetch(kind, place(kind, host))
    caught.says(ExitCode.INVALID_CONFIG, "link-local or metadata address, which is refused")


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_resolves_to_one(run: Any, caught: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("127.0.0.1", METADATA, at_once=True))
    run.flux["sources/data"] = FluxArtifact(url=f"http://{NAME}/rows.tar.gz", digest=ZEROS, revision="1")
    with caught:
        run.fetch(kind, place(kind, NAME))
    caught.says(ExitCode.INVALID_CONFIG, f"{NAME} resolves to {METADATA}, a link-local or metadata address")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "git"])  # git gets the first answer, and no name
def test_a_name_that_resolves_to_one_only_when_it_is_used(
    run: Any, caught: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering("127.0.0.1", METADATA, at_once=False))
    run.flux["sources/data"] = FluxArtifact(url=f"http://{NAME}/rows.tar.gz", digest=ZEROS, revision="1")
    with caught:
        run.fetch(kind, place(kind, NAME))
    caught.says(ExitCode.INVALID_CONFIG, f"{METADATA} is a link-local or metadata address, which is refused")


def answering(*addresses: str, at_once: bool) -> Any:
    """Stand for the resolver: all addresses in one answer, or one after another (DNS rebinding)."""
    left = list(addresses)

    def getaddrinfo(host: str, port: Any, *rest: Any, **options: Any) -> Any:
        given = addresses if at_once else (left.pop(0) if len(left) > 1 else left[0],)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port))) for address in given]

    return getaddrinfo


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fluxSource"])
def test_a_redirect_to_one(run: Any, caught: Any, server: Server, kind: str) -> None:
    class Redirecting(dict[str, Any]):
        def get(self, path: str, default: Any = None) -> Any:
            return 307, {"Location": f"https://{METADATA}{path}"}, b""

    server.answers = Redirecting()
    with caught:
        run.fetch(kind, place(kind, f"127.0.0.1:{server.port}"))
    expected = {"git": "give the final URL", "s3": "the server redirects; correct `endpoint` or `region`"}
    caught.says(ExitCode.INVALID_CONFIG, expected.get(kind, "link-local or metadata address, which is refused"))
    assert server.seen


def test_a_flux_artifact_that_redirects_to_one(run: Any, caught: Any, tmp_path: Path) -> None:
    with serving(tmp_path, None) as plain:
        plain.answers["/rows.tar.gz"] = (302, {"Location": f"http://{METADATA}/rows.tar.gz"}, b"")
        run.flux["sources/data"] = FluxArtifact(url=plain.url("/rows.tar.gz"), digest=ZEROS, revision="1")
        with caught:
            run.fetch("fluxSource", place("fluxSource", ""))
    caught.says(ExitCode.INVALID_CONFIG, "link-local or metadata address, which is refused")


def test_a_token_service_at_one(run: Any, caught: Any, server: Server) -> None:
    asked = {"WWW-Authenticate": f'Bearer realm="https://{METADATA}/token",service="s"'}
    server.answers[f"/v2/rows/manifests/sha256:{ZEROS}"] = (401, asked, b"")
    with caught:
        run.fetch("oci", place("oci", f"127.0.0.1:{server.port}"), {"username": "u", "password": "p"})
    caught.says(ExitCode.INVALID_CONFIG, "link-local or metadata address, which is refused")


def test_a_token_service_without_tls(run: Any, caught: Any, server: Server) -> None:
    asked = {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1/token",service="s"'}
    server.answers[f"/v2/rows/manifests/sha256:{ZEROS}"] = (401, asked, b"")
    with caught:
        run.fetch("oci", place("oci", f"127.0.0.1:{server.port}"), {"username": "u", "password": "p"})
    caught.says(ExitCode.INVALID_CONFIG, "only https URLs are allowed")


def test_the_storage_of_a_registry_at_one(run: Any, caught: Any, server: Server) -> None:
    blob = f"sha256:{ZEROS}"
    layer = {"digest": blob, "size": 1, "annotations": {"org.opencontainers.image.title": "rows.jsonl"}}
    manifest = json.dumps({"layers": [layer]}).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    server.answers[f"/v2/rows/manifests/{digest}"] = (200, {}, manifest)
    server.answers[f"/v2/rows/blobs/{blob}"] = (307, {"Location": f"https://{METADATA}/x"}, b"")
    with caught:
        run.fetch("oci", {"reference": f"127.0.0.1:{server.port}/rows@{digest}", "path": "rows.jsonl"})
    caught.says(ExitCode.INVALID_CONFIG, "link-local or metadata address, which is refused")


@pytest.mark.parametrize(
    "base",
    [
        {"storageUri": "hf://a/b", "revision": REVISION, "endpoint": f"https://{METADATA}"},
        {"storageUri": "s3://models/tiny", "endpoint": f"http://{METADATA}"},
        {"storageUri": f"oci://{METADATA}/models@sha256:{ZEROS}"},
    ],
)
def test_a_base_model_at_one(run: Any, caught: Any, base: dict[str, str]) -> None:
    run.spec["baseModel"] = base
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.INVALID_CONFIG, "link-local or metadata address, which is refused", "spec.baseModel")
