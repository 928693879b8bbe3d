"""Reads one file of one commit by the git binary, without a checkout, so that no hook, filter or submodule runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from loraform_trainer.remote.access import RemoteAccess
from loraform_trainer.remote.addresses import check_url, resolve
from loraform_trainer.remote.web import MAX_BYTES
from loraform_trainer.runtime.errors import (
    DatasetInvalidError,
    InvalidConfigError,
    MissingReferenceError,
    TransientError,
)

TIMEOUT_SECONDS = 900.0
ANY_USER = "x-access-token"
"""User name for a token without `username`: GitHub's own; GitLab, Gitea and Bitbucket accept any."""

SAFE_OPTIONS = (
    ("core.hooksPath", "/dev/null"),
    ("core.symlinks", "false"),
    ("protocol.allow", "never"),
    ("protocol.https.allow", "always"),
    ("http.followRedirects", "false"),  # a redirect could lead to an address that was not checked
    ("credential.helper", ""),
    ("gc.auto", "0"),
)


def read_file(access: RemoteAccess, url: str, commit: str, path: str, target: Path) -> None:
    """Write the file `path` of `commit` to `target`; raises StageError."""
    access = _with_token_as_password(access)
    host, port = check_url(url, access.field)
    address = resolve(host, port, access.field)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".git-") as scratch:
        repository = _Repository(Path(scratch), f"{host}:{port}:{address}", access)
        repository.fetch(url, commit)
        repository.extract(commit, path, target, f"{access.field}: {_without_user(url)}")


class _Repository:
    """A temporary bare repository in `folder`; `pinned` is `host:port:address` of the only server."""

    def __init__(self, folder: Path, pinned: str, access: RemoteAccess) -> None:
        self._folder = folder
        self._access = access
        options = [*SAFE_OPTIONS, ("http.curloptResolve", pinned)]
        self._command = ["git", *(part for key, value in options for part in ("-c", f"{key}={value}"))]
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            **({} if access.ca_file is None else {"GIT_SSL_CAINFO": str(access.ca_file)}),
            **_credentials(access),
        }
        self._run("init", "--quiet", "--bare", "--template=", ".")

    def fetch(self, url: str, commit: str) -> None:
        """Fetch only the commit, or all branches and tags when the server serves no single commits."""
        quiet = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        first = self._run(*quiet, "--depth=1", url, commit)
        if first.returncode == 0:
            return
        everything = self._run(*quiet, url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        if everything.returncode != 0:
            raise _fetch_error(everything.stderr, url, self._access)
        if self._run("cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
            raise MissingReferenceError(f"{self._access.field}: {_without_user(url)} has no commit {commit}")

    def extract(self, commit: str, path: str, target: Path, source: str) -> None:
        """Write one regular file of the commit's tree to `target`; `source` names the repository in messages.

        Raises MissingReferenceError and DatasetInvalidError.
        """
        listed = self._run("ls-tree", "-l", "-z", commit, "--", path).stdout.rstrip("\0")
        if not listed:
            raise MissingReferenceError(f"{source} has no file {path} at commit {commit}")
        mode, kind, object_id, size = listed.split("\t", 1)[0].split()
        if kind != "blob" or mode not in ("100644", "100755"):
            raise DatasetInvalidError(f"{source}: {path} is not a regular file (mode {mode})")
        if int(size) > MAX_BYTES:
            raise DatasetInvalidError(f"{source}: {path} has {size} bytes, more than {MAX_BYTES}")
        with target.open("wb") as out:
            subprocess.run(
                [*self._command, "cat-file", "blob", object_id],
                cwd=self._folder, env=self._environment, stdout=out, check=True, timeout=TIMEOUT_SECONDS,
            )  # fmt: skip

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self._command, *arguments]
        with subprocess.Popen(
            command, cwd=self._folder, env=self._environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=TIMEOUT_SECONDS)
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):  # git's helpers are in its process group
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise TransientError(f"git {arguments[0]} took longer than {TIMEOUT_SECONDS:.0f} s") from error
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _with_token_as_password(access: RemoteAccess) -> RemoteAccess:
    """Return the access with its token as the password, as git servers expect it."""
    token = access.values.get("token")
    if token is None:
        return access
    return dataclasses.replace(access, values={"username": ANY_USER, **access.values, "password": token})


def _credentials(access: RemoteAccess) -> dict[str, str]:
    """Return git's configuration as environment variables: other processes can read a command line."""
    if access.basic is None:
        return {}
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {access.basic}",
    }


def _fetch_error(stderr: str, url: str, access: RemoteAccess) -> Exception:
    lines = access.redact(stderr).strip().splitlines()
    reason = f"{_without_user(url)} was not read: {lines[-1] if lines else 'no message'}"
    message = f"{access.field}: {reason}"
    lowered = stderr.lower()
    if "certificate" in lowered:
        return InvalidConfigError(f"{message}; name a ConfigMap with its CA in `caConfigMapRef`")
    if any(
        sign in lowered for sign in ("could not read username", "authentication failed", "error: 401", "error: 403")
    ):
        return access.denied(reason)
    if "not found" in lowered or "error: 40" in lowered:
        return MissingReferenceError(message)
    if "redirect" in lowered or "error: 30" in lowered:
        return InvalidConfigError(f"{message}; give the final URL")
    return TransientError(message)
