"""Credentials and CA of a remote server, read from its mounted Secret and ConfigMap."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loraform_api.names import ACCESS_FILES, CA_FILE
from loraform_api.sources import Access
from loraform_trainer.runtime.errors import AccessDeniedError, StageError
from loraform_trainer.runtime.mounts import mounted_file, wait_for

Keys = tuple[tuple[str, ...], ...]
"""Alternative sets of keys; a Secret must have all keys of one set."""

BEARER: Keys = (("token",),)
LOGIN: Keys = (("token",), ("username", "password"))
S3_KEYS: Keys = (("accessKeyId", "secretAccessKey"),)


@dataclass(frozen=True, slots=True)
class RemoteAccess:
    """How to reach one remote server, and how errors about it are raised."""

    field: str
    """The field of the spec that names the server, for messages."""
    invalid: type[StageError]
    """The error for a response that is invalid or too large."""
    keys: Keys = LOGIN
    """Sets of keys that the Secret may have, for messages."""
    secret: str | None = None
    """Name of the Secret; None without credentials."""
    values: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    """Values of the Secret by key."""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""

    @property
    def basic(self) -> str | None:
        """Username and password encoded for HTTP Basic authentication; None without a password."""
        if not self.values.get("password"):
            return None
        return base64.b64encode(f"{self.values.get('username', '')}:{self.values['password']}".encode()).decode()

    def denied(self, response: str) -> AccessDeniedError:
        """Return the error for a response that refuses access; `response` describes it."""
        advice = (
            f"name a Secret with {_alternatives(self.keys)} in `secretRef`"
            if self.secret is None
            else f"Secret {self.secret!r} in `secretRef` does not grant access"
        )
        return AccessDeniedError(f"{self.field}: {response}; {advice}")

    def redact(self, text: str) -> str:
        """Return a server's text without the Secret's values, which it may repeat."""
        secrets = [value for key, value in self.values.items() if key != "username"]
        for secret in (*secrets, *([self.basic] if self.basic else [])):
            text = text.replace(secret, "…")
        return text


def read_access(
    folder: Path, references: Access, field: str, invalid: type[StageError], keys: Keys, wait_seconds: float
) -> RemoteAccess:
    """Return the access whose files are mounted in `folder`, waiting for them up to `wait_seconds`.

    `references` names the Secret and the ConfigMap. Raises MissingReferenceError naming them and the missing keys.
    """
    ca_file, secret = None, None
    values: Mapping[str, str] = {}
    if references.ca_config_map_ref is not None:
        description = f"{field}: ConfigMap {references.ca_config_map_ref.name!r} with key {CA_FILE!r} (caConfigMapRef)"
        ca_file = mounted_file(folder, CA_FILE, description, wait_seconds)
    if references.secret_ref is not None:
        secret = references.secret_ref.name
        missing = f"{field}: Secret {secret!r} (secretRef) was not found or lacks its keys: {_alternatives(keys)}"
        values = wait_for(lambda: _values(folder, keys), missing, wait_seconds)
    return RemoteAccess(field, invalid, keys, secret, values, ca_file)


def _values(folder: Path, keys: Keys) -> Mapping[str, str] | None:
    values = {}
    for name in ACCESS_FILES:
        file = folder / name
        value = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        if value:  # an empty value counts as an absent key
            values[name] = value
    return values if any(all(key in values for key in needed) for needed in keys) else None


def _alternatives(keys: Keys) -> str:
    return ", or ".join(" and ".join(f"`{key}`" for key in needed) for needed in keys)
