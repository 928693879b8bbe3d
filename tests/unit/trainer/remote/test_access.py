"""Credentials of remote servers from mounted files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from loraform_api.failures import ExitCode
from loraform_api.meta import LocalReference
from loraform_api.sources import Access
from loraform_trainer.remote.access import BEARER, LOGIN, S3_KEYS, Keys, RemoteAccess, read_access
from loraform_trainer.runtime.errors import DatasetInvalidError, MissingReferenceError

SECRET = Access(secret_ref=LocalReference(name="ours"))


def read(folder: Path, keys: Keys, **files: str) -> RemoteAccess:
    for name, value in files.items():
        (folder / name).write_text(value)
    return read_access(folder, SECRET, "the field", DatasetInvalidError, keys, 0)


def test_values_are_stripped(tmp_path: Path) -> None:
    access = read(tmp_path, LOGIN, username="me", password="two keys_in_message\n")
    assert access.basic == base64.b64encode(b"me:two keys_in_message").decode()


def test_unknown_keys_are_not_read(tmp_path: Path) -> None:
    assert dict(read(tmp_path, BEARER, token="t", other="o").values) == {"token": "t"}


@pytest.mark.parametrize(
    ("keys", "files", "keys_in_message"),
    [
        (LOGIN, {}, "`token`, or `username` and `password`"),
        (LOGIN, {"password": "p"}, "`token`, or `username` and `password`"),
        (BEARER, {"username": "u", "password": "p"}, "`token`"),
        (S3_KEYS, {"accessKeyId": "a", "secretAccessKey": ""}, "`accessKeyId` and `secretAccessKey`"),
    ],
)
def test_a_secret_without_the_needed_keys_is_named(
    tmp_path: Path, keys: Keys, files: dict[str, str], keys_in_message: str
) -> None:
    with pytest.raises(MissingReferenceError, match=r"the field: Secret 'ours' \(secretRef\)") as caught:
        read(tmp_path, keys, **files)
    assert caught.value.message.endswith(f"lacks its keys: {keys_in_message}")


def test_without_references_no_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("c")
    access = read_access(tmp_path, Access(), "the field", DatasetInvalidError, LOGIN, 0)
    assert (dict(access.values), access.ca_file, access.secret) == ({}, None, None)


def test_denied_names_the_fix() -> None:
    without = RemoteAccess("the field", DatasetInvalidError, BEARER).denied("x answered 401")
    assert without.code is ExitCode.ACCESS_DENIED
    assert without.message == "the field: x answered 401; name a Secret with `token` in `secretRef`"
    named = RemoteAccess("the field", DatasetInvalidError, BEARER, "ours").denied("x answered 401")
    assert named.message == "the field: x answered 401; Secret 'ours' in `secretRef` does not grant access"


def test_secrets_are_redacted_and_not_in_the_repr() -> None:
    values = {"username": "me", "password": "s3cret"}
    access = RemoteAccess("the field", DatasetInvalidError, LOGIN, "ours", values)
    assert "s3cret" not in repr(access)
    assert access.basic is not None
    assert access.redact(f"no, me: s3cret and {access.basic}") == "no, me: … and …"
