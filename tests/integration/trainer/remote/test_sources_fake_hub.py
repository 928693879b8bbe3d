"""A file of a data set repository, from a server with the file layout of the Hugging Face hub."""

from __future__ import annotations

from typing import Any

import pytest

from loraform_api.failures import ExitCode

from . import fake_hub
from .https_server import Server

WHERE = "source 'data' of dataset.sources, huggingFace"


@pytest.fixture
def place(server: Server, elsewhere: Server, content: bytes) -> dict[str, str]:
    files = {"data/rows.parquet": content, "rows.jsonl": content}
    fake_hub.serve(server, elsewhere, "datasets", "acme/terraform", files, large=("data/rows.parquet",))
    return {
        "endpoint": server.url(""), "repo": "acme/terraform", "revision": fake_hub.REVISION,
        "path": "data/rows.parquet",
    }  # fmt: skip


def test_a_large_file_is_read_from_storage_without_the_token(
    run: Any, server: Server, elsewhere: Server, place: dict[str, str], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # as pods have it for the libraries that train
    server.secured["/datasets/"] = "Bearer hf_s3cret"
    file = run.fetch("huggingFace", place, {"token": "hf_s3cret"})
    assert file.read_bytes() == content
    assert file.suffix == ".parquet"
    assert [authorization for _, authorization in elsewhere.seen] == [None]


def test_a_small_file_is_read_from_the_hub(run: Any, place: dict[str, str], content: bytes) -> None:
    assert run.fetch("huggingFace", {**place, "path": "rows.jsonl"}).read_bytes() == content


def test_a_token_around_the_process_is_never_used(
    run: Any, caught: Any, server: Server, place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_s3cret")
    server.secured["/datasets/"] = "Bearer hf_s3cret"
    with caught:
        run.fetch("huggingFace", place)
    caught.says(ExitCode.ACCESS_DENIED, "401 Unauthorized; name a Secret with `token` in `secretRef`", WHERE)


@pytest.mark.parametrize("change", [{"path": "absent.jsonl"}, {"revision": "f" * 40}, {"repo": "acme/absent"}])
def test_what_the_hub_does_not_have_is_named(
    run: Any, caught: Any, place: dict[str, str], change: dict[str, str]
) -> None:
    with caught:
        run.fetch("huggingFace", {**place, **change})
    caught.says(ExitCode.MISSING_REFERENCE, "answered 404 Not Found", WHERE)
