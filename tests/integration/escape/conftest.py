"""What every escape test stands on: the real toolchain, planted secrets, and listeners that must hear nothing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..listening import Listeners


@dataclass(frozen=True, slots=True)
class Planted:
    """A secret that the verifier's user can read, in the places where secrets lie."""

    mark: str
    """The secret itself."""
    file: Path
    """A file with it, which a local terraform state could be, too."""
    home: Path
    """A home with it in `.aws/credentials` and in a service account token."""


def plant(folder: Path) -> Planted:
    """Plant a fresh secret in `folder`."""
    mark = f"planted-{secrets.token_hex(8)}"
    state = {"version": 4, "serial": 1, "lineage": "x", "resources": []}
    outputs = {"secret": {"value": mark, "type": "string"}}
    (folder / "secret").write_text(json.dumps(state | {"terraform_version": "1.0.0", "outputs": outputs}))
    aws = folder / ".aws"
    aws.mkdir()
    keys = f"aws_access_key_id = {mark}\naws_secret_access_key = {mark}\n"
    (aws / "credentials").write_text(f"[default]\n{keys}[planted]\n{keys}")
    (folder / "token").write_text(mark)
    return Planted(mark, folder / "secret", folder)


@pytest.fixture(scope="module")
def listeners() -> Iterator[Listeners]:
    """Listeners that must have heard nothing when a module's tests are over."""
    started = Listeners()
    yield started
    heard = started.heard()
    started.close()
    assert heard == []


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """A secret in a file, in this process's environment and in its home."""
    found = plant(tmp_path)
    monkeypatch.setenv("HOME", str(found.home))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(found.home / ".aws/credentials"))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(found.home / "token"))
    for name in ("AWS_SECRET_ACCESS_KEY", "TF_VAR_secret", "TF_CLI_ARGS", "LORAFORM_PLANTED"):
        monkeypatch.setenv(name, found.mark)
    return found
