"""Who we are at a remote place and whom we trust there, as its mounted Secret and ConfigMap say."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loraform_api.names import ACCESS_FILES, CA_FILE
from loraform_api.sources import Access
from loraform_trainer.runtime.errors import AccessDeniedError, StageError
from loraform_trainer.runtime.mounts import mounted, wait_for

Keys = tuple[tuple[str, ...], ...]
"""Alternatives; of one of them a Secret must have every key."""

BEARER: Keys = (("token",),)
LOGIN: Keys = (("token",), ("username", "password"))
S3_KEYS: Keys = (("accessKeyId", "secretAccessKey"),)


@dataclass(frozen=True, slots=True)
class Place:
    """A remote place as messages and clients need it."""

    field: str
    """The user's field, for messages."""
    invalid: type[StageError]
    """What is raised when the place gives something else than was asked for, or too much."""
    keys: Keys = LOGIN
    """Keys that the Secret may have, for messages."""
    secret: str | None = None
    """Name of the Secret; None: no credentials."""
    values: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    """The Secret's values by key."""
    ca_file: Path | None = None

    @property
    def basic(self) -> str | None:
        """Username and password encoded for HTTP, where there are such."""
        if not self.values.get("password"):
            return None
        return base64.b64encode(f"{self.values.get('username', '')}:{self.values['password']}".encode()).decode()

    def denied(self, what: str) -> AccessDeniedError:
        """Return the error for an answer `what` that says that we may not."""
        advice = (
            f"name a Secret with {_words(self.keys)} in `secretRef`"
            if self.secret is None
            else f"Secret {self.secret!r} in `secretRef` does not open it"
        )
        return AccessDeniedError(f"{self.field}: {what}; {advice}")

    def hide(self, text: str) -> str:
        """Return a server's text without our secrets, should it repeat them."""
        secrets = [value for key, value in self.values.items() if key != "username"]
        for secret in (*secrets, *([self.basic] if self.basic else [])):
            text = text.replace(secret, "…")
        return text


def read(folder: Path, access: Access, field: str, invalid: type[StageError], keys: Keys, wait_seconds: float) -> Place:
    """Return the place whose access files are mounted in `folder`.

    Raises MissingReferenceError naming the Secret or ConfigMap, and its keys, when they do not come.
    """
    ca_file, secret = None, None
    values: Mapping[str, str] = {}
    if access.ca_config_map_ref is not None:
        what = f"{field}: ConfigMap {access.ca_config_map_ref.name!r} with key {CA_FILE!r} (caConfigMapRef)"
        ca_file = mounted(folder, CA_FILE, what, wait_seconds)
    if access.secret_ref is not None:
        secret = access.secret_ref.name
        missing = f"{field}: Secret {secret!r} (secretRef) was not found or lacks its keys: {_words(keys)}"
        values = wait_for(lambda: _values(folder, keys), missing, wait_seconds)
    return Place(field, invalid, keys, secret, values, ca_file)


def _values(folder: Path, keys: Keys) -> Mapping[str, str] | None:
    found = {}
    for name in ACCESS_FILES:
        file = folder / name
        value = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        if value:  # an empty file is a key that is not filled in
            found[name] = value
    return found if any(all(key in found for key in needed) for needed in keys) else None


def _words(keys: Keys) -> str:
    return ", or ".join(" and ".join(f"`{key}`" for key in needed) for needed in keys)
