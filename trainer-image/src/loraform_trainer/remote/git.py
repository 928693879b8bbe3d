"""One file of one commit, by the git binary, without a checkout: no hooks, filters, links or submodules can act."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from loraform_trainer.remote.addresses import check_url, resolve
from loraform_trainer.remote.identity import Place
from loraform_trainer.remote.web import MAX_BYTES
from loraform_trainer.runtime.errors import (
    DatasetInvalidError,
    InvalidConfigError,
    MissingReferenceError,
    TransientError,
)

TIMEOUT_SECONDS = 900.0
ANY_USER = "x-access-token"
"""The user beside a token where no `username` is given: GitHub's own word; GitLab, Gitea and Bitbucket take any."""

SAFE = (
    ("core.hooksPath", "/dev/null"),
    ("core.symlinks", "false"),
    ("protocol.allow", "never"),
    ("protocol.https.allow", "always"),
    ("http.followRedirects", "false"),  # a redirect could lead to an address that was not checked
    ("credential.helper", ""),
    ("gc.auto", "0"),
)


def read_file(place: Place, url: str, commit: str, path: str, target: Path) -> None:
    """Write `path` as of `commit` to `target`."""
    place = _login(place)
    host, port = check_url(url, place.field)
    address = resolve(host, port, place.field)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".git-") as scratch:
        repository = _Repository(Path(scratch), f"{host}:{port}:{address}", place)
        repository.fetch(url, commit)
        repository.extract(commit, path, target, f"{place.field}: {_without_user(url)}")


class _Repository:
    """A bare repository that lives as long as its folder."""

    def __init__(self, folder: Path, pinned: str, place: Place) -> None:
        self._folder = folder
        self._place = place
        options = [*SAFE, ("http.curloptResolve", pinned)]
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
            **({} if place.ca_file is None else {"GIT_SSL_CAINFO": str(place.ca_file)}),
            **_credentials(place),
        }
        self._run("init", "--quiet", "--bare", "--template=", ".")

    def fetch(self, url: str, commit: str) -> None:
        """Fetch just the commit; where the server hands out no single commits, all branches and tags."""
        quiet = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        first = self._run(*quiet, "--depth=1", url, commit)
        if first.returncode == 0:
            return
        everything = self._run(*quiet, url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        if everything.returncode != 0:
            raise _fetch_error(everything.stderr, url, self._place)
        if self._run("cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
            raise MissingReferenceError(f"{self._place.field}: {_without_user(url)} has no commit {commit}")

    def extract(self, commit: str, path: str, target: Path, where: str) -> None:
        """Write one regular file of the commit's tree; raises MissingReferenceError and DatasetInvalidError."""
        listed = self._run("ls-tree", "-l", "-z", commit, "--", path).stdout.rstrip("\0")
        if not listed:
            raise MissingReferenceError(f"{where} has no file {path} at commit {commit}")
        mode, kind, object_id, size = listed.split("\t", 1)[0].split()
        if kind != "blob" or mode not in ("100644", "100755"):
            raise DatasetInvalidError(f"{where}: {path} is not a regular file (mode {mode})")
        if int(size) > MAX_BYTES:
            raise DatasetInvalidError(f"{where}: {path} has {size} bytes, more than {MAX_BYTES}")
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
                with contextlib.suppress(ProcessLookupError):  # git's helpers are in its group
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise TransientError(f"git {arguments[0]} took longer than {TIMEOUT_SECONDS:.0f} s") from error
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _login(place: Place) -> Place:
    """Return the place with its token as a password: git's servers take it so."""
    token = place.values.get("token")
    if token is None:
        return place
    return dataclasses.replace(place, values={"username": ANY_USER, **place.values, "password": token})


def _credentials(place: Place) -> dict[str, str]:
    """Return git's configuration by environment: a command line can be read by every process of the node."""
    if place.basic is None:
        return {}
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {place.basic}",
    }


def _fetch_error(stderr: str, url: str, place: Place) -> Exception:
    lines = place.hide(stderr).strip().splitlines()
    what = f"{_without_user(url)} was not read: {lines[-1] if lines else 'no message'}"
    message = f"{place.field}: {what}"
    lowered = stderr.lower()
    if "certificate" in lowered:
        return InvalidConfigError(f"{message}; name a ConfigMap with its CA in `caConfigMapRef`")
    if any(
        sign in lowered for sign in ("could not read username", "authentication failed", "error: 401", "error: 403")
    ):
        return place.denied(what)
    if "not found" in lowered or "error: 40" in lowered:
        return MissingReferenceError(message)
    if "redirect" in lowered or "error: 30" in lowered:
        return InvalidConfigError(f"{message}; give the final URL")
    return TransientError(message)
