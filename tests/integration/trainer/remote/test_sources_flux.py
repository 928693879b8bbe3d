"""A file of a Flux artifact, from a plain http server as the source controller is one inside the cluster."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loraform_api.failures import ExitCode
from loraform_api.run import FluxArtifact

from .https_server import Server, serving

WHERE = "source 'data' of dataset.sources, fluxSource"
PLACE = {"kind": "GitRepository", "name": "rows", "path": "sets/rows.csv"}


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, None) as made:
        yield made


@pytest.fixture
def archive(run: Any, controller: Server, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo("sets/rows.csv")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    url, digest = controller.url("/gitrepository/rows.tar.gz"), hashlib.sha256(packed.getvalue()).hexdigest()
    controller.answers["/gitrepository/rows.tar.gz"] = (200, {}, packed.getvalue())
    run.flux["sources/data"] = FluxArtifact(url=url, digest=digest, revision="main@sha1:abc")
    return packed.getvalue()


def test_the_artifact_of_the_runs_beginning_is_read(run: Any, archive: bytes, content: bytes) -> None:
    file = run.fetch("fluxSource", PLACE)
    assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == ["dataset.sources.data.csv"]


def test_another_artifact_at_its_url_is_refused(run: Any, caught: Any, controller: Server, archive: bytes) -> None:
    controller.answers["/gitrepository/rows.tar.gz"] = (200, {}, archive + b"more")
    with caught:
        run.fetch("fluxSource", PLACE)
    caught.says(ExitCode.DATASET_INVALID, f"the source says {hashlib.sha256(archive).hexdigest()}", WHERE)


def test_an_absent_file_is_named(run: Any, caught: Any, archive: bytes) -> None:
    with caught:
        run.fetch("fluxSource", {**PLACE, "path": "absent.csv"})
    caught.says(ExitCode.MISSING_REFERENCE, "'rows' at main@sha1:abc has no file absent.csv", WHERE)


def test_a_source_without_an_artifact_is_named(run: Any, caught: Any) -> None:
    with caught:
        run.fetch("fluxSource", PLACE)
    caught.says(ExitCode.MISSING_REFERENCE, "GitRepository 'rows' had no artifact when the run began", WHERE)
