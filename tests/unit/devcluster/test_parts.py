"""Small parts: build secrets, toolchain context, pause archive, kubeconfig, configuration texts, registry answers."""

from __future__ import annotations

import base64
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraform_devcluster import addons, buildenv, config, credentials, files, pause, toolchain
from loraform_devcluster.__main__ import main
from loraform_devcluster.registry import Registry
from loraform_devcluster.shell import DevclusterError
from loraform_verifier.terraform.toolchain import Provider, Terraform


def test_only_named_variables_enter_a_build(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("PEM")
    environment = {
        "UV_DEFAULT_INDEX": "https://index/simple?a b",
        "AWS_SECRET_ACCESS_KEY": "x",
        "PIP_CERT": str(bundle),
    }
    assert buildenv.exports(environment).splitlines() == [
        "export UV_DEFAULT_INDEX='https://index/simple?a b'",
        "export SSL_CERT_FILE=/run/secrets/ca",
        "export PIP_CERT=/run/secrets/ca",
    ]
    assert buildenv.secret_options(environment, tmp_path)[-1] == f"id=ca,src={bundle}"


def test_a_bundle_that_is_not_there_is_not_offered(tmp_path: Path) -> None:
    assert buildenv.ca_bundle({"SSL_CERT_FILE": str(tmp_path / "absent")}) is None


def test_toolchain_context_has_binary_and_mirror(tmp_path: Path) -> None:
    folder = tmp_path / "mirror/registry.terraform.io/hashicorp/aws/5.100.0/linux_amd64"
    folder.mkdir(parents=True)
    (folder / "provider").write_text("")
    found = Terraform(tmp_path / "terraform", "Terraform", "1.11.4", (Provider("hashicorp", "aws", "5.100.0", folder),))
    assert list(toolchain.context_files(found)) == [
        "bin/terraform",
        "mirror/registry.terraform.io/hashicorp/aws/5.100.0/linux_amd64/provider",
    ]


def test_opentofu_keeps_its_name(tmp_path: Path) -> None:
    found = Terraform(tmp_path / "tofu-1.12", "OpenTofu", "1.12.6", ())
    assert list(toolchain.context_files(found)) == ["bin/tofu"]


def test_pause_archive_holds_one_executable(tmp_path: Path) -> None:
    program, archive = tmp_path / "pause", tmp_path / "pause.tar"
    program.write_bytes(b"ELF")
    pause.write_archive(program, "localhost/pause:1", archive)
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("layer.tar")
        assert layer is not None
        with tarfile.open(fileobj=io.BytesIO(layer.read())) as inner:
            assert [(m.name, m.mode) for m in inner.getmembers()] == [("pause", 0o755)]


def test_kubeconfig_carries_the_ca() -> None:
    content = yaml.safe_load(credentials.kubeconfig("https://a:1", "PEM", "admin", "secret"))
    cluster = content["clusters"][0]["cluster"]
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"PEM"
    assert content["current-context"] == content["contexts"][0]["name"]


def test_dns_without_resolvers_does_not_forward(tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("search example\n")
    assert "forward" not in config.corefile(tmp_path, resolv)
    resolv.write_text("nameserver 127.0.0.53\n")
    assert f"forward . {resolv}" in config.corefile(tmp_path, resolv)


def test_storage_class_is_the_default_one() -> None:
    kinds = {o["kind"]: o for o in yaml.safe_load_all(addons.manifests())}
    annotations = kinds["StorageClass"]["metadata"]["annotations"]
    assert annotations == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert kinds["Service"]["spec"]["clusterIP"] == config.DNS_SERVICE


class Manifests(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        known = self.path == "/v2/loraform/operator/manifests/k1"
        self.send_response(200 if known else 404)
        self.send_header("Docker-Content-Digest", "sha256:abc")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Manifests)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Registry(f"127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


def test_registry_tells_digests_and_absence(registry: Registry) -> None:
    assert registry.pinned("operator", "k1") == f"{registry.host}/loraform/operator@sha256:abc"
    assert registry.pinned("operator", "k2") is None


def test_a_silent_registry_is_named() -> None:
    with pytest.raises(DevclusterError, match=r"127\.0\.0\.1:1 does not answer"):
        Registry("127.0.0.1:1").pinned("operator", "k1")


def test_only_loopback_registries_are_plain() -> None:
    assert Registry("localhost:5000").plain
    assert not Registry("registry.example/team").plain


@pytest.mark.parametrize("command", ["up", "down", "status", "load-images", "kubeconfig", "tools"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"loraform-devcluster {command}" in capsys.readouterr().out


def test_a_given_cluster_is_never_removed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--context", "somebody's", "down"]) == 1
    assert "was not made by devcluster" in capsys.readouterr().err


def test_a_given_cluster_needs_a_registry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--context", "somebody's", "load-images"]) == 1
    assert "--registry" in capsys.readouterr().err


def test_an_unchanged_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    files.write(path, "one", mode=0o600)
    first = path.stat()
    files.write(path, "one", mode=0o600)
    assert path.stat().st_ino == first.st_ino
    files.write(path, "two", mode=0o600)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o600)
    assert [p.name for p in path.parent.iterdir()] == ["file"]
