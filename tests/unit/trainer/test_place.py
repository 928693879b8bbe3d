"""Access files of a remote place."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from loraform_api.failures import ExitCode
from loraform_api.meta import LocalReference
from loraform_api.sources import Access
from loraform_trainer.remote import identity
from loraform_trainer.remote.identity import BEARER, LOGIN, S3_KEYS, Keys, Place
from loraform_trainer.runtime.errors import DatasetInvalidError, MissingReferenceError

SECRET = Access(secret_ref=LocalReference(name="ours"))


def read(folder: Path, keys: Keys, **files: str) -> Place:
    for name, value in files.items():
        (folder / name).write_text(value)
    return identity.read(folder, SECRET, "the field", DatasetInvalidError, keys, 0)


def test_values_lose_the_line_break_that_editors_add(tmp_path: Path) -> None:
    found = read(tmp_path, LOGIN, username="me", password="two words\n")
    assert found.basic == base64.b64encode(b"me:two words").decode()


def test_other_files_are_not_read(tmp_path: Path) -> None:
    assert dict(read(tmp_path, BEARER, token="t", other="o").values) == {"token": "t"}


@pytest.mark.parametrize(
    ("keys", "files", "words"),
    [
        (LOGIN, {}, "`token`, or `username` and `password`"),
        (LOGIN, {"password": "p"}, "`token`, or `username` and `password`"),
        (BEARER, {"username": "u", "password": "p"}, "`token`"),
        (S3_KEYS, {"accessKeyId": "a", "secretAccessKey": ""}, "`accessKeyId` and `secretAccessKey`"),
    ],
)
def test_a_secret_without_what_the_place_takes_is_named(
    tmp_path: Path, keys: Keys, files: dict[str, str], words: str
) -> None:
    with pytest.raises(MissingReferenceError, match=r"the field: Secret 'ours' \(secretRef\)") as caught:
        read(tmp_path, keys, **files)
    assert caught.value.message.endswith(f"lacks its keys: {words}")


def test_without_references_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("c")
    found = identity.read(tmp_path, Access(), "the field", DatasetInvalidError, LOGIN, 0)
    assert (dict(found.values), found.ca_file, found.secret) == ({}, None, None)


def test_a_denied_place_says_what_to_do() -> None:
    without = Place("the field", DatasetInvalidError, BEARER).denied("x answered 401")
    assert without.code is ExitCode.ACCESS_DENIED
    assert without.message == "the field: x answered 401; name a Secret with `token` in `secretRef`"
    named = Place("the field", DatasetInvalidError, BEARER, "ours").denied("x answered 401")
    assert named.message == "the field: x answered 401; Secret 'ours' in `secretRef` does not open it"


def test_secrets_are_in_no_text_and_no_repr() -> None:
    values = {"username": "me", "password": "s3cret"}
    found = Place("the field", DatasetInvalidError, LOGIN, "ours", values)
    assert "s3cret" not in repr(found)
    assert found.basic is not None
    assert found.hide(f"no, me: s3cret and {found.basic}") == "no, me: … and …"
