"""A file of a commit, from a real git server behind https."""

from __future__ import annotations

import base64
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loraform_api.failures import ExitCode

from .https_server import Server

WHERE = "source 'data' of dataset.sources, git.url"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Repository:
    url: str
    folder: Path
    commit: str = ""
    """An old commit, below a branch's tip."""

    def git(self, *arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def place(self, **change: str) -> dict[str, str]:
        return {"url": self.url, "commit": self.commit, "path": "sets/rows.jsonl", **change}


@pytest.fixture
def repository(server: Server, content: bytes) -> Repository:
    folder = server.repositories / "data"
    folder.mkdir()
    made = Repository(server.url("/git/data"), folder)
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
def test_a_commit_below_the_tip_is_read(run: Any, repository: Repository, content: bytes, any_commit: str) -> None:
    """With a server that hands out any commit, and with one that hands out branches only."""
    repository.git("config", "uploadpack.allowAnySHA1InWant", any_commit)
    assert run.fetch("git", repository.place()).read_bytes() == content


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
    run: Any, caught: Any, repository: Repository, change: dict[str, str], code: ExitCode, message: str
) -> None:
    with caught:
        run.fetch("git", repository.place(**change))
    caught.says(code, message, WHERE)


def test_an_unknown_repository_is_named(run: Any, caught: Any, server: Server, repository: Repository) -> None:
    with caught:
        run.fetch("git", repository.place(url=server.url("/git/absent")))
    caught.says(ExitCode.MISSING_REFERENCE, "/git/absent was not read", WHERE)


def test_an_unknown_certificate_is_refused(run: Any, caught: Any, repository: Repository) -> None:
    with caught:
        run.fetch("git", {**repository.place(), "caConfigMapRef": None})
    caught.says(ExitCode.INVALID_CONFIG, "caConfigMapRef", WHERE)


@pytest.mark.parametrize(
    ("secret", "asked"),
    [
        ({"token": "s3cret"}, basic("x-access-token", "s3cret")),
        ({"username": "me", "token": "s3cret"}, basic("me", "s3cret")),
        ({"username": "me", "password": "s3cret"}, basic("me", "s3cret")),
    ],
)
def test_a_private_repository_is_read_with_the_secret(
    run: Any, server: Server, repository: Repository, content: bytes, secret: dict[str, str], asked: str
) -> None:
    server.secured["/git/"] = asked
    assert run.fetch("git", repository.place(), secret).read_bytes() == content


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (None, "name a Secret with `token`, or `username` and `password` in `secretRef`"),
        ({"token": "s3cret"}, "Secret 'our-secret' in `secretRef` does not grant access"),
    ],
)
def test_a_private_repository_stays_closed(
    run: Any, caught: Any, server: Server, repository: Repository, secret: dict[str, str] | None, message: str
) -> None:
    server.secured["/git/"] = basic("me", "other")
    with caught:
        run.fetch("git", repository.place(), secret)
    caught.says(ExitCode.ACCESS_DENIED, message, WHERE)


def test_a_server_that_repeats_the_secret_does_not_bring_it_into_the_report(
    run: Any, caught: Any, server: Server, repository: Repository
) -> None:
    sent = basic("x-access-token", "s3cret")
    lines = ("# service=git-upload-pack\n", None, f"ERR no, {sent} and s3cret")
    body = "".join("0000" if line is None else f"{len(line) + 4:04x}{line}" for line in lines)
    headers = {"Content-Type": "application/x-git-upload-pack-advertisement"}
    server.answers["/echo/info/refs?service=git-upload-pack"] = (200, headers, body.encode())
    with caught:
        run.fetch("git", repository.place(url=server.url("/echo")), {"token": "s3cret"})
    caught.says(ExitCode.TRAINER_ERROR, "/echo was not read: fatal: remote error: no, Basic … and …")


def test_the_secret_is_on_no_command_line(
    run: Any, server: Server, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "bin"
    spy.mkdir()
    real = subprocess.run(["which", "git"], check=True, capture_output=True, text=True).stdout.strip()
    (spy / "git").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/lines\nexec {real} "$@"\n')
    (spy / "git").chmod(0o755)
    server.secured["/git/"] = basic("x-access-token", "s3cret")
    monkeypatch.setenv("PATH", f"{spy}:{os.environ['PATH']}")
    run.fetch("git", repository.place(), {"token": "s3cret"})
    lines = (tmp_path / "lines").read_text()
    assert "fetch --quiet" in lines
    assert "s3cret" not in lines
    assert basic("x-access-token", "s3cret").split()[1] not in lines


def test_a_redirect_is_not_followed(run: Any, caught: Any, server: Server, elsewhere: Server) -> None:
    path = "/moved/info/refs?service=git-upload-pack"
    server.answers[path] = (302, {"Location": elsewhere.url(path)}, b"")
    with caught:
        run.fetch("git", {"url": server.url("/moved"), "commit": "0" * 40, "path": "x.jsonl"}, {"token": "s3cret"})
    caught.says(ExitCode.INVALID_CONFIG, "give the final URL", WHERE)
    assert elsewhere.seen == []
