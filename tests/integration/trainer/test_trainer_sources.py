"""Sources over https and git, from real servers with a certificate authority of their own."""

from __future__ import annotations

import hashlib
import http.server
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loraform_api.run import ExitCode
from loraform_trainer import download

Stage = Callable[..., int]
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Server:
    """An https server on loopback: fixed answers by path, and git repositories below /git/."""

    ca: Path
    repositories: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"


def handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.seen.append(self.path)
            if self.path.startswith("/git/"):
                self._git()
                return
            status, headers, body = server.answers.get(self.path, (404, {}, b"nothing here"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self._git()

        def _git(self) -> None:
            """Git's own server side, by CGI."""
            path, _, query = self.path.removeprefix("/git").partition("?")
            size = int(self.headers.get("Content-Length") or 0)
            environment = {
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(server.repositories), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type") or "", "CONTENT_LENGTH": str(size),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            }  # fmt: skip
            body = self.rfile.read(size)
            done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def server(tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[Server]:
    cert_file, key_file = certificate
    made = Server(ca=cert_file, repositories=tmp_path / "repositories")
    made.repositories.mkdir()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(made))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    made.port = running.server_address[1]
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield made
    running.shutdown()
    running.server_close()


@pytest.fixture
def content(pod: Any) -> bytes:
    return bytes((pod.paths.sources_mount / "data" / "rows.jsonl").read_bytes())


def use(pod: Any, server: Server | None, **source: Any) -> None:
    """Make the dataset's one source this one, with the server's CA mounted when a server is given."""
    ((kind, settings),) = source.items()
    if server is not None:
        settings["caConfigMapRef"] = {"name": "our-ca"}
        mount = pod.paths.sources_mount / "data"
        mount.mkdir(parents=True, exist_ok=True)
        (mount / "ca.crt").write_bytes(server.ca.read_bytes())
    pod.config["spec"]["dataset"]["sources"] = [{"name": "data", kind: settings}]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_file_over_https_with_a_private_ca_and_a_redirect(
    pod: Any, stage: Stage, server: Server, content: bytes
) -> None:
    server.answers["/rows?x=1"] = (302, {"Location": "/moved"}, b"")
    server.answers["/moved"] = (200, {}, content)
    use(pod, server, http={"url": server.url("/rows?x=1"), "sha256": sha256(content)})
    assert stage("prepare") == 0
    assert pod.report().prepare.rows["Read"] == 40
    assert not pod.paths.downloads.exists()


def test_a_wrong_digest_names_both(pod: Any, stage: Stage, server: Server, content: bytes) -> None:
    server.answers["/rows"] = (200, {}, content)
    use(pod, server, http={"url": server.url("/rows"), "sha256": "0" * 64})
    assert stage("prepare") == ExitCode.DATASET_INVALID
    assert f"has sha256 {sha256(content)}, but the source says {'0' * 64}" in pod.report().message


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ((302, {"Location": "http://127.0.0.1/rows"}, b""), ExitCode.INVALID_CONFIG, "only https URLs are allowed"),
        ((302, {"Location": "https://169.254.169.254/x"}, b""), ExitCode.INVALID_CONFIG, "link-local or metadata"),
        ((302, {"Location": "/rows"}, b""), ExitCode.INVALID_CONFIG, "redirects more than 5 times"),
        ((404, {}, b""), ExitCode.MISSING_REFERENCE, "answered 404 Not Found"),
        ((503, {}, b""), ExitCode.TRAINER_ERROR, "answered 503 Service Unavailable"),
    ],
)
def test_answers_that_are_no_file(
    pod: Any, stage: Stage, server: Server, answer: Answer, code: ExitCode, message: str
) -> None:
    server.answers["/rows"] = answer
    use(pod, server, http={"url": server.url("/rows"), "sha256": "0" * 64})
    assert stage("prepare") == code
    assert message in pod.report().message
    assert "source 'data' of dataset.sources, http.url" in pod.report().message


def test_an_unknown_certificate_is_refused(pod: Any, stage: Stage, server: Server) -> None:
    use(pod, None, http={"url": server.url("/rows"), "sha256": "0" * 64})
    assert stage("prepare") == ExitCode.INVALID_CONFIG
    assert "caConfigMapRef" in pod.report().message
    assert server.seen == []


def test_a_missing_ca_is_named(pod: Any, stage: Stage, server: Server) -> None:
    use(pod, server, http={"url": server.url("/rows"), "sha256": "0" * 64})
    (pod.paths.sources_mount / "data" / "ca.crt").unlink()
    assert stage("prepare") == ExitCode.MISSING_REFERENCE
    assert "ConfigMap 'our-ca' with key 'ca.crt' (caConfigMapRef) was not found" in pod.report().message


def test_a_suite_of_a_sources_name_has_a_ca_of_its_own(pod: Any, stage: Stage, server: Server, content: bytes) -> None:
    suite = (pod.paths.suites_mount / "held-out" / "suite.jsonl").read_bytes()
    server.answers |= {"/rows": (200, {}, content), "/suite": (200, {}, suite)}
    use(pod, server, http={"url": server.url("/rows"), "sha256": sha256(content)})
    place = {"url": server.url("/suite"), "sha256": sha256(suite), "caConfigMapRef": {"name": "suite-ca"}}
    pod.config["spec"]["evaluation"]["suites"] = [{"name": "data", "http": place}]
    assert stage("prepare") == ExitCode.MISSING_REFERENCE
    assert "source 'data' of evaluation.suites: ConfigMap 'suite-ca' with key 'ca.crt'" in pod.report().message
    mount = pod.paths.suites_mount / "data"
    mount.mkdir()
    (mount / "ca.crt").write_bytes(server.ca.read_bytes())
    assert stage("prepare") == 0
    assert pod.report().prepare.suite_rows == 3


def test_a_file_beyond_the_cap_is_refused(
    pod: Any, stage: Stage, server: Server, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.download, "__kwdefaults__", {**download.download.__kwdefaults__, "max_bytes": 100})
    server.answers["/rows"] = (200, {}, content)
    use(pod, server, http={"url": server.url("/rows"), "sha256": sha256(content)})
    assert stage("prepare") == ExitCode.DATASET_INVALID
    assert "the file is larger than 100 bytes" in pod.report().message


@dataclass
class Repository:
    url: str
    folder: Path
    commit: str
    """An old commit, below a branch's tip."""

    def git(self, *arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()


@pytest.fixture
def repository(server: Server, content: bytes) -> Repository:
    folder = server.repositories / "data"
    folder.mkdir()
    made = Repository(server.url("/git/data"), folder, "")
    made.git("init", "--quiet", "--initial-branch=main")
    (folder / "sets").mkdir()
    (folder / "sets" / "rows.jsonl").write_bytes(content)
    (folder / "link.jsonl").symlink_to("/etc/passwd")
    made.git("add", ".")
    made.git("commit", "--quiet", "--message=one")
    made.commit = made.git("rev-parse", "HEAD")
    (folder / "sets" / "rows.jsonl").write_text("changed")
    made.git("commit", "--quiet", "--all", "--message=two")
    return made


@pytest.mark.parametrize("any_commit", ["true", "false"])
def test_a_commit_below_the_tip_is_read(
    pod: Any, stage: Stage, server: Server, repository: Repository, any_commit: str
) -> None:
    """With a server that hands out any commit, and with one that hands out branches only."""
    repository.git("config", "uploadpack.allowAnySHA1InWant", any_commit)
    use(pod, server, git={"url": repository.url, "commit": repository.commit, "path": "sets/rows.jsonl"})
    assert stage("prepare") == 0
    assert pod.report().prepare.rows["Read"] == 40


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"commit": "0" * 40}, ExitCode.MISSING_REFERENCE, f"has no commit {'0' * 40}"),
        ({"path": "sets/absent.jsonl"}, ExitCode.MISSING_REFERENCE, "has no file sets/absent.jsonl at commit"),
        ({"path": "link.jsonl"}, ExitCode.DATASET_INVALID, "link.jsonl is not a regular file (mode 120000)"),
        ({"path": "sets"}, ExitCode.DATASET_INVALID, "sets is not a regular file"),
    ],
)
def test_what_git_does_not_have_is_named(
    pod: Any, stage: Stage, server: Server, repository: Repository, change: dict[str, str], code: ExitCode, message: str
) -> None:
    use(pod, server, git={"url": repository.url, "commit": repository.commit, "path": "sets/rows.jsonl", **change})
    assert stage("prepare") == code
    assert message in pod.report().message


def test_an_unknown_repository_is_named(pod: Any, stage: Stage, server: Server, repository: Repository) -> None:
    use(pod, server, git={"url": server.url("/git/absent"), "commit": repository.commit, "path": "x.jsonl"})
    assert stage("prepare") == ExitCode.MISSING_REFERENCE
    assert "/git/absent was not read" in pod.report().message


def test_git_refuses_an_unknown_certificate(pod: Any, stage: Stage, repository: Repository) -> None:
    use(pod, None, git={"url": repository.url, "commit": repository.commit, "path": "sets/rows.jsonl"})
    assert stage("prepare") == ExitCode.INVALID_CONFIG
    assert "caConfigMapRef" in pod.report().message
