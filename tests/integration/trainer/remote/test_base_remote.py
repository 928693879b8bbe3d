"""Base models from remote places, and the cache that runs share."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from loraform_api.failures import ExitCode
from loraform_trainer.prepare import staging
from loraform_trainer.prepare.basemodel import cache

from . import fake_hub
from .https_server import Server

HEADER = json.dumps({"model.q.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
MODEL = {
    "config.json": json.dumps({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 512}).encode(),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "model.safetensors": struct.pack("<Q", len(HEADER)) + HEADER + b"\0" * 16,
}
OTHERS = {"README.md": b"read me", "modeling.py": b"import os", "pytorch_model.bin": b"pickle"}
Place = Callable[[dict[str, bytes]], None]
"""Puts a model's files into its remote place."""


@pytest.fixture(params=["hf", "s3", "oci"])
def remote(request: pytest.FixtureRequest, run: Any, server: Server, elsewhere: Server) -> Place:
    """A base model's place of each kind, behind credentials; the run is told of it when files are put there."""

    def hub(files: dict[str, bytes]) -> None:
        server.secured["/"] = "Bearer hf_s3cret"
        fake_hub.serve(server, elsewhere, "models", "acme/tiny", files, large=("model.safetensors",))
        spec = {"storageUri": "hf://acme/tiny", "revision": fake_hub.REVISION, "endpoint": server.url("")}
        run.spec["baseModel"] = {**spec, **run.access(run.paths.base_access, {"token": "hf_s3cret"})}

    def bucket(files: dict[str, bytes]) -> None:
        s3, name = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
        for path, content in {**files, "sub/config.json": b"not at the top"}.items():
            s3.client.put_object(Bucket=name, Key=f"models/tiny/{path}", Body=content)
        spec = {"storageUri": f"s3://{name}/models/tiny", "endpoint": s3.endpoint}
        run.spec["baseModel"] = {**spec, **run.access(run.paths.base_access, s3.secret)}

    def registry(files: dict[str, bytes]) -> None:
        made = request.getfixturevalue("registry")
        layers = [(path, "application/octet-stream", content) for path, content in files.items()]
        spec = {"storageUri": f"oci://{made.host}/models/tiny@{made.push('models/tiny', layers)}"}
        run.spec["baseModel"] = {**spec, **run.access(run.paths.base_access, made.secret)}

    return {"hf": hub, "s3": bucket, "oci": registry}[request.param]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_cache(run: Any) -> Path:
    run.spec["cache"] = {"claimName": "shared"}
    run.paths.cache.mkdir()
    return Path(run.paths.cache) / "bases"


def test_only_the_allowed_files_come_into_the_workspace(run: Any, remote: Place) -> None:
    remote({**MODEL, **OTHERS})
    base = staging.stage_base(run.context())
    assert files(run.paths.base) == MODEL
    assert base.max_positions == 512


def test_a_model_is_the_same_from_everywhere(run: Any, remote: Place) -> None:
    remote(MODEL)
    fetched = staging.stage_base(run.context())
    (run.paths.base_mount / "tiny").mkdir(parents=True)
    for name, content in MODEL.items():
        (run.paths.base_mount / "tiny" / name).write_bytes(content)
    run.spec["baseModel"] = {"storageUri": "pvc://models/tiny"}
    assert staging.stage_base(run.context()) == fetched


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config.json": b'{"architectures": ["X"], "auto_map": {"AutoModel": "modeling.X"}}'}, "`auto_map`"),
        ({"tokenizer_config.json": b'{"auto_map": {}}'}, "tokenizer_config.json of the base model has `auto_map`"),
        ({"model.safetensors": b"pickle"}, "model.safetensors of the base model is not a safetensors file"),
        ({"model.safetensors": None, "pytorch_model.bin": b"x"}, "(found pytorch_model.bin: convert it to safetensors"),
        ({"tokenizer.json": None}, "has no tokenizer.json"),
    ],
)
def test_unsafe_and_incomplete_models_are_refused(
    run: Any, caught: Any, remote: Place, change: dict[str, bytes | None], message: str
) -> None:
    remote({name: content for name, content in {**MODEL, **change}.items() if content is not None})
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.BASE_MODEL_INVALID, message)


def test_a_model_refused_for_its_settings_costs_no_download_of_weights(
    run: Any, caught: Any, server: Server, elsewhere: Server
) -> None:
    settings = {"config.json": b'{"auto_map": {}}'}
    fake_hub.serve(server, elsewhere, "models", "a/b", {**MODEL, **settings}, large=("model.safetensors",))
    run.spec["baseModel"] = {
        "storageUri": "hf://a/b", "revision": fake_hub.REVISION, "endpoint": server.url(""),
        **run.access(run.paths.base_access, None),
    }  # fmt: skip
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.BASE_MODEL_INVALID, "`auto_map`")
    assert elsewhere.seen == []


def test_credentials_that_do_not_fit_are_told_by_the_name_of_their_secret(run: Any, caught: Any, remote: Place) -> None:
    remote(MODEL)
    for key in ("token", "secretAccessKey", "password"):
        if (run.paths.base_access / key).exists():
            (run.paths.base_access / key).write_text("wrong")
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.ACCESS_DENIED, "spec.baseModel.storageUri: ", "'our-secret' in `secretRef` does not grant")


def test_the_next_run_takes_the_model_from_the_cache(
    run: Any, remote: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bases = with_cache(run)
    remote(MODEL)
    first = staging.stage_base(run.context())
    [entry] = bases.iterdir()
    assert files(entry).keys() == MODEL.keys() | {cache.INDEX}
    monkeypatch.setattr(staging, "_fetch", None)
    caplog.set_level("INFO")
    assert staging.stage_base(run.context()) == first
    assert "taken from the cache" in caplog.text
    assert files(run.paths.base) == MODEL


@pytest.mark.parametrize("damage", ["weights", "index", "absent", "link"])
def test_a_damaged_entry_is_fetched_again(run: Any, remote: Place, damage: str) -> None:
    bases = with_cache(run)
    remote(MODEL)
    first = staging.stage_base(run.context())
    [entry] = bases.iterdir()
    weights = entry / "model.safetensors"
    if damage == "weights":
        weights.write_bytes(MODEL["model.safetensors"][:-1] + b"x")
    elif damage == "index":
        (run.paths.cache / "planted").write_bytes(b"planted")
        digests = {**json.loads((entry / cache.INDEX).read_text()), "../../planted": sha256(b"planted").hexdigest()}
        (entry / cache.INDEX).write_text(json.dumps(digests))
    else:
        weights.unlink()
    if damage == "link":
        weights.symlink_to("/etc/passwd")
    assert staging.stage_base(run.context()) == first
    assert [path.name for path in bases.iterdir()] == [entry.name]
    assert weights.read_bytes() == MODEL["model.safetensors"]
    assert files(run.paths.base) == MODEL
    assert not (run.paths.base / "../../planted").exists()


@pytest.mark.parametrize("remote", ["s3", "oci"], indirect=True)  # a revision of the hub never changes
def test_a_changed_model_gets_an_entry_of_its_own(run: Any, remote: Place) -> None:
    bases = with_cache(run)
    remote(MODEL)
    first = staging.stage_base(run.context())
    remote({**MODEL, "tokenizer.json": b'{"other": 1}'})
    assert staging.stage_base(run.context()).digest != first.digest
    assert len(list(bases.iterdir())) == 2


@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_an_object_that_changes_after_it_was_listed_is_left_to_another_pod(
    run: Any, caught: Any, remote: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote(MODEL)
    listed = staging._selected_files

    def and_changed(*arguments: Any) -> Any:
        found = listed(*arguments)
        remote({**MODEL, "tokenizer.json": b'{"other": 1}'})
        return found

    monkeypatch.setattr(staging, "_selected_files", and_changed)
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.TRAINER_ERROR, "tokenizer.json answered 412 PreconditionFailed")


def test_runs_at_once_share_one_entry(run: Any, remote: Place, tmp_path: Path) -> None:
    bases = with_cache(run)
    remote(MODEL)
    found: list[staging.StagedBaseModel] = []

    def stage(number: int) -> None:
        context = run.context()
        paths = replace(context.paths, workspace=tmp_path / f"workspace-{number}")
        found.append(staging.stage_base(replace(context, paths=paths)))

    threads = [threading.Thread(target=stage, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(list(bases.iterdir())) == 1


def test_a_download_that_breaks_leaves_no_entry(run: Any, caught: Any, server: Server, elsewhere: Server) -> None:
    bases = with_cache(run)
    fake_hub.serve(server, elsewhere, "models", "a/b", MODEL, large=("model.safetensors",))
    run.spec["baseModel"] = {
        "storageUri": "hf://a/b", "revision": fake_hub.REVISION, "endpoint": server.url(""),
        **run.access(run.paths.base_access, None),
    }  # fmt: skip
    [(path, (status, _, content))] = elsewhere.answers.items()
    elsewhere.answers[path] = (status, {"Content-Length": str(len(content))}, content[:50])
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.TRAINER_ERROR, "was not read to its end")
    assert list(bases.iterdir()) == []
    elsewhere.answers[path] = (200, {}, content)
    staging.stage_base(run.context())
    assert files(run.paths.base) == MODEL


def test_what_a_killed_run_left_is_removed_when_it_is_old(run: Any, remote: Place) -> None:
    bases = with_cache(run)
    old, new = bases / f"{cache.PARTIAL}old", bases / f"{cache.PARTIAL}new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    past = time.time() - 2 * cache.ABANDONED_SECONDS
    for path in (old, old / "model.safetensors"):
        os.utime(path, (past, past))
    remote(MODEL)
    staging.stage_base(run.context())
    assert not old.exists()
    assert new.exists()


def test_a_cache_that_is_not_there_is_named(run: Any, caught: Any, remote: Place) -> None:
    remote(MODEL)
    run.spec["cache"] = {"claimName": "shared"}
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.MISSING_REFERENCE, "spec.cache.claimName", "'shared'")


@pytest.mark.parametrize(
    ("link", "message"),
    [("/api/models/a/b/tree/", "has too many files"), ("https://127.0.0.1/x", "continues at another address")],
)
def test_a_listing_that_does_not_end_or_leads_away_is_refused(
    run: Any, caught: Any, server: Server, link: str, message: str
) -> None:
    tree = f"/api/models/a/b/tree/{fake_hub.REVISION}"
    target = f"{link}{fake_hub.REVISION}" if link.endswith("/") else link
    server.answers[tree] = (200, {"Link": f'<{target}>; rel="next"'}, b"[]")
    run.spec["baseModel"] = {
        "storageUri": "hf://a/b", "revision": fake_hub.REVISION, "endpoint": server.url(""),
        **run.access(run.paths.base_access, None),
    }  # fmt: skip
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.BASE_MODEL_INVALID, message)


def test_a_hub_without_a_revision_is_refused(run: Any, caught: Any) -> None:
    run.spec["baseModel"] = {"storageUri": "hf://a/b"}
    with caught:
        staging.stage_base(run.context())
    caught.says(ExitCode.INVALID_CONFIG, "spec.baseModel.revision")
