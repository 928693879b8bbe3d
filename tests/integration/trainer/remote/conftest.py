"""A run without its stages: the mounts, a context, and servers to fetch from and to publish to."""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3

from loraform_api.failures import ExitCode
from loraform_api.run import FluxArtifact, RunConfig
from loraform_api.sources import DataSource
from loraform_trainer.prepare import sources
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import classify
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.runtime.progress import Progress

from ...waiting import free_port
from ..certificates import self_signed
from ..run_paths import paths_below
from .https_server import Server, serving
from .processes import registry_config, running, tool

SPEC: dict[str, Any] = {
    "baseModel": {"storageUri": "pvc://models/tiny"},
    "dataset": {"sources": [{"name": "data", "configMap": {"name": "rows", "key": "rows.jsonl"}}]},
    "evaluation": {"suites": [{"name": "held-out", "configMap": {"name": "suite", "key": "suite.jsonl"}}]},
    "output": {"storageUri": "pvc://artifacts/team"},
}


@dataclass
class Run:
    """The mounts of one run, and its spec as a dictionary to be changed."""

    root: Path
    ca: Path
    spec: dict[str, Any] = field(default_factory=lambda: dict(SPEC))
    flux: dict[str, FluxArtifact] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        return paths_below(self.root)

    def context(self) -> Context:
        config = RunConfig(
            namespace="default", name="job", uid="1234", spec=self.spec, images={},
            engine_dtype="float32", flux=self.flux,
        )  # fmt: skip
        return Context(config, self.paths, Progress(None), mount_wait_seconds=0)

    def access(self, folder: Path, secret: Mapping[str, str] | None, *, ca: bool = True) -> dict[str, Any]:
        """Mount the servers' CA, and a Secret where one is given; return the references for the spec."""
        folder.mkdir(parents=True, exist_ok=True)
        if ca:
            (folder / "ca.crt").write_bytes(self.ca.read_bytes())
        for key, value in (secret or {}).items():
            (folder / key).write_text(value)
        references = {"caConfigMapRef": {"name": "our-ca"}}
        return references if secret is None else {**references, "secretRef": {"name": "our-secret"}}

    def fetch(
        self, kind: str, place: dict[str, Any], secret: Mapping[str, str] | None = None, *, ca: bool = True
    ) -> Path:
        """Fetch a source of `dataset.sources` named `data`, its Secret and, unless told otherwise, the CA mounted."""
        mount = self.paths.sources_mount
        access = {} if kind == "fluxSource" else self.access(mount / "data", secret, ca=ca)
        source = DataSource.model_validate({"name": "data", kind: {**access, **place}})
        return sources.fetch(self.context(), source, mount, "dataset.sources")


@dataclass(frozen=True)
class Refusal:
    code: ExitCode
    message: str


@dataclass
class Caught:
    """What the block raised, as the stage's report would say it."""

    refusal: Refusal | None = None

    def __enter__(self) -> Caught:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        assert error is not None, "nothing was refused"
        self.refusal = Refusal(*classify(error))
        return True

    def says(self, code: ExitCode, *parts: str) -> None:
        assert self.refusal is not None
        assert self.refusal.code is code, self.refusal
        for part in parts:
            assert part in self.refusal.message


@pytest.fixture
def caught() -> Caught:
    return Caught()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of all servers; the certificate is its own authority."""
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def run(tmp_path: Path, tls: tuple[Path, Path]) -> Run:
    (tmp_path / "workspace").mkdir()
    return Run(tmp_path, tls[0])


@pytest.fixture
def server(tmp_path: Path, tls: tuple[Path, Path]) -> Iterator[Server]:
    (tmp_path / "repositories").mkdir()
    with serving(tmp_path / "repositories", tls) as made:
        yield made


@pytest.fixture
def elsewhere(tmp_path: Path, tls: tuple[Path, Path]) -> Iterator[Server]:
    """Another https server, to which the first may redirect."""
    with serving(tmp_path, tls) as made:
        yield made


@pytest.fixture
def content() -> bytes:
    return b'{"instruction": "one", "response": "two"}\n'


@dataclass(frozen=True)
class S3:
    """versitygw with versions, and an administrator's client of it."""

    endpoint: str
    secret: dict[str, str]
    client: Any
    access_log: Path

    def uploads(self, bucket: str) -> list[str]:
        """Return the keys that were written to `bucket`, in the order of the requests."""
        words = map(str.split, self.access_log.read_text().splitlines())
        return [w[w.index("s3_PutObject") + 1] for w in words if bucket in w and "s3_PutObject" in w]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory, tls: tuple[Path, Path]) -> Iterator[S3]:
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    secret = {"accessKeyId": "AKIATESTTESTTESTTEST", "secretAccessKey": "s3cret-of-the-bucket"}
    for name in ("root", "versions", "users"):
        (folder / name).mkdir()
    command = [
        tool("versitygw"), "--quiet", "--port", f"127.0.0.1:{port}", "--cert", tls[0], "--key", tls[1],
        "--access", secret["accessKeyId"], "--secret", secret["secretAccessKey"],
        "--access-log", folder / "access", "--iam-dir", folder / "users",
        "posix", "--versioning-dir", folder / "versions", folder / "root",
    ]  # fmt: skip
    with running(command, port, folder):
        endpoint = f"https://127.0.0.1:{port}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", verify=str(tls[0]),
            aws_access_key_id=secret["accessKeyId"], aws_secret_access_key=secret["secretAccessKey"],
        )  # fmt: skip
        yield S3(endpoint, secret, client, folder / "access")


@pytest.fixture
def bucket(s3: S3, request: pytest.FixtureRequest) -> str:
    """A new bucket that keeps versions."""
    name = "b-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    s3.client.create_bucket(Bucket=name)
    s3.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


PASSWORD = "s3cret-password"
HTPASSWD = "robot:$2y$05$abcdefghijklmnopqrstuuUXKlvQTwfK/kphhjbeRlh5zvpJx1LLu\n"


@dataclass(frozen=True)
class Registry:
    """A registry that asks for username and password."""

    host: str
    ca: Path
    blobs: Path

    @property
    def secret(self) -> dict[str, str]:
        return {"username": "robot", "password": PASSWORD}

    def request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Speak to it as an administrator, by the API."""
        basic = base64.b64encode(f"robot:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", **options.pop("headers", {})}
        url = path if path.startswith("https://") else f"https://{self.host}{path}"
        with urllib3.PoolManager(ssl_context=ssl.create_default_context(cafile=str(self.ca))) as pool:
            return pool.request(method, url, headers=headers, **options)

    def push(self, repository: str, layers: list[tuple[str | None, str, bytes]]) -> str:
        """Store an artifact of layers (title, media type, content); return its digest."""
        descriptors = []
        for title, media_type, blob in [(None, "application/vnd.oci.empty.v1+json", b"{}"), *layers]:
            digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
            begun = self.request("POST", f"/v2/{repository}/blobs/uploads/")
            assert self.request("PUT", f"{begun.headers['Location']}&digest={digest}", body=blob).status == 201
            made: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(blob)}
            if title is not None:
                made["annotations"] = {"org.opencontainers.image.title": title}
            descriptors.append(made)
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptors[0], "layers": descriptors[1:],
        }  # fmt: skip
        stored = self.request(
            "PUT", f"/v2/{repository}/manifests/made", json=manifest, headers={"Content-Type": manifest["mediaType"]}
        )
        assert stored.status == 201, stored.data
        return str(stored.headers["Docker-Content-Digest"])


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, tls: tuple[Path, Path]) -> Iterator[Registry]:
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    config = registry_config(folder, port, tls, auth)
    with running([tool("docker-registry"), "serve", config], port, folder):
        yield Registry(f"127.0.0.1:{port}", tls[0], folder / "blobs")
