"""An object of a bucket, from a real S3 server (versitygw) with an authority of its own."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from loraform_api.failures import ExitCode

WHERE = "source 'data' of dataset.sources, s3"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def place(s3: Any, bucket: str, content: bytes) -> dict[str, Any]:
    """An object with two versions; the place names the first."""
    first = s3.client.put_object(Bucket=bucket, Key="sets/rows.jsonl", Body=content)
    s3.client.put_object(Bucket=bucket, Key="sets/rows.jsonl", Body=b"changed")
    return {
        "endpoint": s3.endpoint, "bucket": bucket, "key": "sets/rows.jsonl",
        "versionId": first["VersionId"], "sha256": sha256(content),
    }  # fmt: skip


def test_a_version_is_read(run: Any, s3: Any, place: dict[str, Any], content: bytes) -> None:
    file = run.fetch("s3", place, s3.secret)
    assert file.read_bytes() == content
    assert file.suffix == ".jsonl"


def test_without_a_version_the_digest_fixes_the_content(run: Any, caught: Any, s3: Any, place: dict[str, Any]) -> None:
    del place["versionId"]
    assert run.fetch("s3", {**place, "sha256": sha256(b"changed")}, s3.secret).read_bytes() == b"changed"
    with caught:
        run.fetch("s3", place, s3.secret)
    caught.says(ExitCode.DATASET_INVALID, f"has sha256 {sha256(b'changed')}, but the source says", WHERE)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"key": "sets/absent.jsonl"}, ExitCode.MISSING_REFERENCE, "/sets/absent.jsonl answered 404 NoSuchKey"),
        ({"bucket": "no-such-bucket"}, ExitCode.MISSING_REFERENCE, "answered 404 NoSuchBucket"),
        ({"versionId": "01J0000000000000000000000Z"}, ExitCode.MISSING_REFERENCE, "answered 40"),
        ({"caConfigMapRef": None}, ExitCode.INVALID_CONFIG, "name a ConfigMap with its CA in `caConfigMapRef`"),
        ({"endpoint": "https://127.0.0.1:1"}, ExitCode.TRAINER_ERROR, "no answer (EndpointConnectionError)"),
    ],
)
def test_what_cannot_be_read_is_named(
    run: Any, caught: Any, s3: Any, place: dict[str, Any], change: dict[str, Any], code: ExitCode, message: str
) -> None:
    with caught:
        run.fetch("s3", {**place, **change}, s3.secret)
    caught.says(code, message, WHERE)


@pytest.mark.parametrize("key", ["accessKeyId", "secretAccessKey"])
def test_wrong_keys_are_told_by_the_name_of_their_secret(
    run: Any, caught: Any, s3: Any, place: dict[str, Any], key: str
) -> None:
    with caught:
        run.fetch("s3", place, {**s3.secret, key: "AKIAWRONGWRONGWRONGW"})
    caught.says(ExitCode.ACCESS_DENIED, "answered 403", "Secret 'our-secret' in `secretRef` does not grant", WHERE)
    assert "AKIA" not in caught.refusal.message


def test_half_a_secret_is_named(run: Any, caught: Any, s3: Any, place: dict[str, Any]) -> None:
    with caught:
        run.fetch("s3", place, {"accessKeyId": "AKIATESTTESTTESTTEST"})
    caught.says(ExitCode.MISSING_REFERENCE, "lacks its keys: `accessKeyId` and `secretAccessKey`", WHERE)


def test_credentials_around_the_process_are_never_used(
    run: Any, caught: Any, s3: Any, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.secret["accessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret["secretAccessKey"])
    with caught:
        run.fetch("s3", place)
    caught.says(ExitCode.ACCESS_DENIED, "name a Secret with `accessKeyId` and `secretAccessKey` in `secretRef`", WHERE)


def test_a_public_bucket_needs_no_secret(run: Any, s3: Any, place: dict[str, Any], content: bytes) -> None:
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:GetObjectVersion"],
        "Resource": f"arn:aws:s3:::{place['bucket']}/*",
    }  # fmt: skip
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.client.put_bucket_policy(Bucket=place["bucket"], Policy=policy)
    assert run.fetch("s3", place).read_bytes() == content
