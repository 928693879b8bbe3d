"""Stage publish: whole or absent, and the same when run again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from loraform_api.artifact import Manifest
from loraform_api.failures import ExitCode
from loraform_api.names import RunStage, run_prefix
from loraform_trainer.publish import stores
from loraform_trainer.runtime.files import sha256_file, write_jsonl

Stage = Callable[..., int]


@pytest.fixture
def trained(pod: Any, stage: Stage) -> Any:
    """A run up to evaluate, with an adapter that needs no training to be published."""
    assert stage("prepare") == 0
    pod.paths.adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "parity.json"):
        (pod.paths.adapter / name).write_text(name)
    write_jsonl(pod.paths.evaluation_rows, [{"id": "1"}])
    return pod


def published(pod: Any) -> Any:
    return pod.paths.output_mount / "team" / "adapters" / run_prefix("job", "1234")


def test_the_store_gets_everything_with_a_manifest(trained: Any, stage: Stage) -> None:
    assert stage("publish") == 0
    done = trained.report().publish
    folder = published(trained)
    assert done.uri == f"pvc://artifacts/team/adapters/{folder.name}"
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    assert manifest.digest == done.digest
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files - {"manifest.json"} == set(manifest.files)
    assert all(sha256_file(folder / name) == digest for name, digest in manifest.files.items())
    assert done.size_bytes == sum((folder / name).stat().st_size for name in files)
    record = json.loads((folder / "run.json").read_text())
    assert record["config"]["name"] == "job"
    assert record["reports"]["prepare"]["prepare"]["baseDigest"] == manifest.base_digest
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_the_evidence_that_there_is_is_published_with_its_digests(trained: Any, stage: Stage) -> None:
    for path in (trained.paths.evaluation_page, trained.paths.evaluation_report, trained.paths.training_log):
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    assert stage("publish") == 0
    manifest = Manifest.model_validate_json((published(trained) / "manifest.json").read_text())
    written = ("dataset.json", "evaluation.html", "evaluation.json", "training.jsonl")
    evidence = {f"reports/{name}" for name in written}
    assert {name for name in manifest.files if name.startswith("reports/")} == evidence
    assert (published(trained) / "reports" / "evaluation.html").read_text() == "evaluation.html"


def test_publishing_again_changes_nothing(trained: Any, stage: Stage) -> None:
    stage("publish")
    first = trained.report()
    before = {p: p.stat().st_mtime_ns for p in published(trained).rglob("*")}
    trained.paths.report(RunStage.PUBLISH).unlink()
    assert stage("publish") == 0
    assert trained.report() == first
    assert {p: p.stat().st_mtime_ns for p in published(trained).rglob("*")} == before


def test_a_killed_publish_leaves_no_artifact_and_is_repeated(
    trained: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: Any) -> str:
        raise OSError(28, "No space left on device", "parity.json")

    with monkeypatch.context() as patch:
        patch.setattr(stores, "copy_hashed", killed)
        assert stage("publish") == ExitCode.WORKSPACE_FULL
    assert not published(trained).exists()
    assert stage("publish") == 0
    assert [p.name for p in published(trained).parent.iterdir()] == [published(trained).name]


def test_another_adapter_is_never_overwritten(trained: Any, stage: Stage) -> None:
    stage("publish")
    trained.paths.report(RunStage.PUBLISH).unlink()
    (trained.paths.adapter / "adapter_model.safetensors").write_text("other")
    assert stage("publish") == ExitCode.INVALID_CONFIG
    assert "not overwritten" in trained.report().message
    assert (published(trained) / "adapter_model.safetensors").read_text() == "adapter_model.safetensors"


def test_a_damaged_artifact_is_not_taken_for_a_good_one(trained: Any, stage: Stage) -> None:
    stage("publish")
    trained.paths.report(RunStage.PUBLISH).unlink()
    (published(trained) / "parity.json").write_text("damaged")
    assert stage("publish") == ExitCode.INVALID_CONFIG
    assert "parity.json in the store differs from manifest.json" in trained.report().message
