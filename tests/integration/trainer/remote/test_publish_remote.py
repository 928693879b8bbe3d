"""Artifacts in a bucket (versitygw) and in a registry (CNCF distribution): whole or absent, never overwritten."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from loraform_api.artifact import Manifest
from loraform_api.failures import ExitCode
from loraform_api.names import RunStage, run_prefix
from loraform_api.run import PrepareResult, StageReport
from loraform_trainer.publish import stage
from loraform_trainer.runtime import stage_report
from loraform_trainer.runtime.files import write_jsonl

NAME = run_prefix("job", "1234")
ZEROS = "0" * 64


@pytest.fixture
def trained(run: Any) -> Any:
    """A run up to evaluate, with an adapter that is a name only."""
    run.paths.adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "parity.json"):
        (run.paths.adapter / name).write_text(name)
    write_jsonl(run.paths.evaluation_rows, [{"id": "1"}])
    prepared = PrepareResult(dataset_digest=ZEROS, rows={}, base_digest=ZEROS, template_hash=ZEROS, suite_rows=1)
    stage_report.write(run.paths, StageReport(stage=RunStage.PREPARE, prepare=prepared))
    return run


@pytest.fixture
def to_bucket(trained: Any, s3: Any, bucket: str) -> str:
    """The bucket that the run publishes to."""
    access = trained.access(trained.paths.output_access, s3.secret)
    trained.spec["output"] = {"storageUri": f"s3://{bucket}/team/adapters", "endpoint": s3.endpoint, **access}
    return bucket


def objects(s3: Any, bucket: str) -> dict[str, bytes]:
    root = f"team/adapters/{NAME}/"
    listed = s3.client.list_objects_v2(Bucket=bucket, Prefix=root).get("Contents", [])
    keys = [entry["Key"] for entry in listed]
    return {key.removeprefix(root): s3.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def test_a_bucket_gets_every_file_and_the_manifest_last(trained: Any, s3: Any, to_bucket: str) -> None:
    done = stage.run(trained.context()).publish
    assert done is not None
    assert done.uri == f"s3://{to_bucket}/team/adapters/{NAME}"
    stored = objects(s3, to_bucket)
    manifest = Manifest.model_validate_json(stored["manifest.json"])
    assert manifest.digest == done.digest
    assert stored.keys() == manifest.files.keys() | {"manifest.json"}
    assert {name: hashlib.sha256(stored[name]).hexdigest() for name in manifest.files} == manifest.files
    assert done.size_bytes == sum(map(len, stored.values()))
    written = s3.uploads(to_bucket)
    assert written[-1] == f"team/adapters/{NAME}/manifest.json"
    assert len(written) == len(stored)


def test_publishing_again_to_a_bucket_changes_nothing(trained: Any, s3: Any, to_bucket: str) -> None:
    first = stage.run(trained.context())
    assert stage.run(trained.context()) == first
    versions = s3.client.list_object_versions(Bucket=to_bucket)["Versions"]
    assert len(versions) == len(objects(s3, to_bucket))


def test_a_publish_that_was_killed_is_completed(trained: Any, s3: Any, to_bucket: str) -> None:
    key = f"team/adapters/{NAME}/adapter_model.safetensors"
    s3.client.put_object(Bucket=to_bucket, Key=key, Body=b"half")
    stage.run(trained.context())
    assert objects(s3, to_bucket)["adapter_model.safetensors"] == b"adapter_model.safetensors"


def test_another_adapter_in_a_bucket_is_never_overwritten(trained: Any, caught: Any, s3: Any, to_bucket: str) -> None:
    stage.run(trained.context())
    before = objects(s3, to_bucket)
    (trained.paths.adapter / "adapter_model.safetensors").write_text("other")
    with caught:
        stage.run(trained.context())
    caught.says(ExitCode.INVALID_CONFIG, "not overwritten")
    assert objects(s3, to_bucket) == before


@pytest.mark.parametrize("body", [None, b"damaged"])
def test_a_damaged_artifact_in_a_bucket_is_not_taken_for_a_good_one(
    trained: Any, caught: Any, s3: Any, to_bucket: str, body: bytes | None
) -> None:
    stage.run(trained.context())
    key = f"team/adapters/{NAME}/parity.json"
    s3.client.delete_object(Bucket=to_bucket, Key=key)
    if body is not None:
        s3.client.put_object(Bucket=to_bucket, Key=key, Body=body)
    with caught:
        stage.run(trained.context())
    caught.says(ExitCode.INVALID_CONFIG, "parity.json in the store differs from manifest.json")


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"storageUri": "s3://no-such-bucket/x"}, ExitCode.MISSING_REFERENCE, "NoSuchBucket"),
        ({"endpoint": "https://127.0.0.1:1"}, ExitCode.TRAINER_ERROR, "no answer"),
        ({"secretRef": None}, ExitCode.ACCESS_DENIED, "name a Secret with `accessKeyId` and `secretAccessKey`"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_named(
    trained: Any, caught: Any, to_bucket: str, change: dict[str, Any], code: ExitCode, message: str
) -> None:
    trained.spec["output"] |= change
    with caught:
        stage.run(trained.context())
    caught.says(code, message, "spec.output.storageUri")


@pytest.fixture
def to_registry(trained: Any, registry: Any, request: pytest.FixtureRequest) -> str:
    """The repository that the run publishes to."""
    path = "adapters/" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    access = trained.access(trained.paths.output_access, registry.secret)
    trained.spec["output"] = {"storageUri": f"oci://{registry.host}/{path}", **access}
    return path


def test_a_registry_gets_one_artifact_with_a_layer_for_each_file(trained: Any, registry: Any, to_registry: str) -> None:
    done = stage.run(trained.context()).publish
    assert done is not None
    answer = registry.request(
        "GET", f"/v2/{to_registry}/manifests/{NAME}", headers={"Accept": "application/vnd.oci.image.manifest.v1+json"}
    )
    digest = f"sha256:{hashlib.sha256(answer.data).hexdigest()}"
    assert done.uri == f"oci://{registry.host}/{to_registry}@{digest}"
    stored = json.loads(answer.data)
    assert stored["artifactType"] == "application/vnd.loraform.adapter.v1"
    assert stored["annotations"] == {
        "dev.loraform.adapter.digest": done.digest,
        "dev.loraform.base.digest": ZEROS,
        "dev.loraform.template.hash": ZEROS,
    }
    blobs = {}
    for layer in stored["layers"]:
        blob = registry.request("GET", f"/v2/{to_registry}/blobs/{layer['digest']}").data
        assert len(blob) == layer["size"]
        blobs[layer["annotations"]["org.opencontainers.image.title"]] = blob
    manifest = Manifest.model_validate_json(blobs["manifest.json"])
    assert blobs.keys() == manifest.files.keys() | {"manifest.json"}
    assert {name: hashlib.sha256(blobs[name]).hexdigest() for name in manifest.files} == manifest.files
    assert done.size_bytes == sum(map(len, blobs.values()))


def test_publishing_again_to_a_registry_changes_nothing(trained: Any, to_registry: str) -> None:
    first = stage.run(trained.context())
    assert stage.run(trained.context()) == first


def test_another_adapter_in_a_registry_is_never_overwritten(
    trained: Any, caught: Any, registry: Any, to_registry: str
) -> None:
    first = stage.run(trained.context()).publish
    assert first is not None
    (trained.paths.adapter / "adapter_model.safetensors").write_text("other")
    with caught:
        stage.run(trained.context())
    caught.says(ExitCode.INVALID_CONFIG, f"holds adapter {first.digest}", "not overwritten")
    tags = json.loads(registry.request("GET", f"/v2/{to_registry}/tags/list").data)["tags"]
    assert tags == [NAME]


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (None, "name a Secret with `token`, or `username` and `password`"),
        ({"username": "robot", "password": "wrong"}, "Secret 'our-secret' in `secretRef` does not grant access"),
    ],
)
def test_a_registry_that_does_not_know_us_is_named(
    trained: Any, caught: Any, registry: Any, to_registry: str, secret: dict[str, str] | None, message: str
) -> None:
    uri = trained.spec["output"]["storageUri"]
    trained.spec["output"] = {"storageUri": uri, **trained.access(trained.paths.output_access, secret)}
    with caught:
        stage.run(trained.context())
    caught.says(ExitCode.ACCESS_DENIED, message, "spec.output.storageUri")


def test_a_store_is_no_artifact(trained: Any, caught: Any, to_registry: str) -> None:
    trained.spec["output"]["storageUri"] += f"@sha256:{ZEROS}"
    with caught:
        stage.run(trained.context())
    caught.says(ExitCode.INVALID_CONFIG, "has a digest; give a repository without one")
