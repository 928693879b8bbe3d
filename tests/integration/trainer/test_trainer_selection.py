"""The choice of a checkpoint in stage evaluate: a fake engine with several adapters, the real verifier service without
terraform."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from tokenizers import Tokenizer

from loraform_api.artifact import PARITY_FILE
from loraform_api.evaluation import EvaluationReport
from loraform_api.failures import ExitCode
from loraform_engine.proof import adapter_folder_digest
from loraform_trainer.evaluate import selection
from loraform_trainer.evaluate.checkpoint_choice import losses
from loraform_trainer.evaluate.write_report import training_log
from loraform_trainer.runtime.errors import StageError
from loraform_trainer.runtime.files import read_jsonl, write_jsonl
from loraform_trainer.runtime.paths import Paths
from loraform_verifier.http.queue import Verifiers
from loraform_verifier.http.service import application
from loraform_verifier.verify import Verifier

from .conftest import Pod, row, write_adapter
from .fake_engine import CUT, KNOWS, FakeEngine, run
from .progress_told import Told

ROWS = [f"select-{i}" for i in range(4)]


def leave(pod: Pod, known: Mapping[int, int]) -> None:
    """Leave checkpoints as train does: step to how many selection rows it answers as the house asks."""
    pod.config["spec"]["checkpoint"] |= {"candidates": 3}
    for step, count in known.items():
        write_adapter(pod, pod.paths.candidates / f"step-{step}", f"{KNOWS} step {step} {' '.join(ROWS[:count])}")
    shutil.rmtree(pod.paths.adapter)
    shutil.copytree(folder(pod, max(known)), pod.paths.adapter)
    write_jsonl(
        pod.paths.selection_rows,
        ({"id": name, "instruction": f"Make a bucket, {name} its name.", "input": ""} for name in ROWS),
    )


def folder(pod: Pod, step: int) -> Path:
    return pod.paths.candidates / f"step-{step}"


def names_asked(engine: FakeEngine) -> set[tuple[str, str]]:
    """Which adapter was asked for which bucket."""
    return {
        (body["model"], engine.prompt_of(body).split("bucket, ")[1].split(" ")[0])
        for body in engine.requests
        if body["model"] != "base"
    }


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


async def test_the_checkpoint_with_most_rows_passed_becomes_the_adapter(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    leave(trained, {4: 1, 8: 3, 12: 2})
    report = await run(trained, urls)
    assert [(s.step, s.rows, s.passed) for s in report.evaluate.selection] == [(4, 4, 1), (8, 4, 3), (12, 4, 2)]
    assert files(trained.paths.adapter) == files(folder(trained, 8))
    assert PARITY_FILE in files(trained.paths.adapter)
    assert report.message.endswith("; checkpoint 8 chosen from 3")
    rows = [json.loads(line) for line in trained.paths.evaluation_rows.read_text().splitlines()]
    digests = {row["adapterDigest"] for row in rows if row["arm"] == "Candidate"}
    assert digests == {adapter_folder_digest(folder(trained, 8))}
    assert len(report.encode()) < 3500


async def test_only_the_chosen_checkpoint_meets_the_suite(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    leave(trained, {4: 1, 8: 3, 12: 2})
    await run(trained, urls)
    asked = names_asked(engine)
    assert len({model for model, name in asked if name.startswith("select-")}) == 3
    assert {model[-8:] for model, name in asked if name.startswith("held-")} == {
        name[-8:] for name, path in engine.loaded.items() if path.endswith("step-8")
    }


async def test_the_choice_is_in_the_report_and_on_the_page(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    leave(trained, {4: 2, 8: 2})
    write_jsonl(trained.paths.training_log, [{"step": 4, "eval_loss": 0.25}, {"step": 8, "eval_loss": 0.75}])
    result = (await run(trained, urls)).evaluate
    report = EvaluationReport.model_validate_json(trained.paths.evaluation_report.read_text())
    assert report.selection == result.selection
    page = trained.paths.evaluation_page.read_text()
    assert "Step 4 (chosen)" in page
    assert "Step 8<" in page
    assert ">0.75<" in page
    assert adapter_folder_digest(trained.paths.adapter) == adapter_folder_digest(folder(trained, 4))


async def test_a_truncated_answer_counts_against_its_checkpoint(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    leave(trained, {4: 4, 8: 4})
    engine.answers = {("select-0", ""): CUT}
    result = (await run(trained, urls)).evaluate
    assert [(s.rows, s.passed) for s in result.selection] == [(4, 3), (4, 3)]


async def test_without_a_house_policy_none_is_asked(trained: Pod, engine: FakeEngine, urls: tuple[str, str]) -> None:
    leave(trained, {4: 1, 8: 0})
    trained.config["policy"] = None
    result = (await run(trained, urls)).evaluate
    assert [s.passed for s in result.selection] == [4, 4]
    assert adapter_folder_digest(trained.paths.adapter) == adapter_folder_digest(folder(trained, 8))


class KilledError(RuntimeError):
    """Stands for SIGKILL."""


async def test_an_evaluation_killed_before_the_swap_comes_to_the_same_choice(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(trained, {4: 3, 8: 2})

    def killed(paths: Paths, chosen: selection.CandidateCheckpoint) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(selection, "install", killed)
        with pytest.raises(KilledError):
            await run(trained, urls)
    assert adapter_folder_digest(trained.paths.adapter) == adapter_folder_digest(folder(trained, 8))
    engine.loaded.clear()  # a new pod has a new engine
    engine.requests.clear()
    engine.answers = {(name, ""): CUT for name in ROWS}  # another choice would be another
    again = (await run(trained, urls)).evaluate
    assert [s.passed for s in again.selection] == [3, 2]
    assert adapter_folder_digest(trained.paths.adapter) == adapter_folder_digest(folder(trained, 4))
    assert not [name for _, name in names_asked(engine) if name.startswith("select-")]


async def test_an_evaluation_killed_in_the_swap_finds_the_adapter_again(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    leave(trained, {4: 3, 8: 2})
    await run(trained, urls)
    trained.paths.adapter.rename(trained.paths.workspace / ".adapter.old")
    (trained.paths.workspace / ".adapter.new").mkdir()
    engine.loaded.clear()
    await run(trained, urls)
    assert files(trained.paths.adapter) == files(folder(trained, 4))
    assert not list(trained.paths.workspace.glob(".adapter*"))


async def test_a_choice_among_other_checkpoints_is_made_anew(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    leave(trained, {4: 3, 8: 2})
    await run(trained, urls)
    engine.loaded.clear()
    shutil.rmtree(trained.paths.candidates)
    leave(trained, {4: 0, 8: 4})
    await run(trained, urls)
    assert adapter_folder_digest(trained.paths.adapter) == adapter_folder_digest(folder(trained, 8))


async def test_with_one_candidate_nothing_is_chosen(trained: Pod, engine: FakeEngine, urls: tuple[str, str]) -> None:
    before = files(trained.paths.adapter)
    report = await run(trained, urls)
    assert (report.evaluate.selection, files(trained.paths.adapter)) == ([], before)
    assert not trained.paths.selection.exists()
    assert report.message == (
        "passed raw, of 3 rows: Base 0, BaseWithPolicy 0, Candidate 3; candidate +100.0 points against Base"
        " (+5.2 to +100.0, each bound one-sided 95 %)"
    )


async def test_without_selection_rows_what_train_took_stays(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    leave(trained, {4: 3, 8: 2})
    trained.paths.selection_rows.unlink()
    assert (await run(trained, urls)).evaluate.selection == []
    assert adapter_folder_digest(trained.paths.adapter) == adapter_folder_digest(folder(trained, 8))
    assert "keeping the checkpoint of stage train: 2 checkpoints and 0 selection rows to choose by" in caplog.text


async def test_a_checkpoint_that_the_engine_does_not_serve_is_never_asked(
    trained: Pod, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    leave(trained, {4: 3, 8: 2})
    engine.serves_base = True
    with pytest.raises(StageError, match="answers as the base model") as raised:
        await run(trained, urls)
    assert raised.value.code is ExitCode.ADAPTER_NOT_SERVABLE
    assert engine.requests == []


async def test_progress_never_goes_back(trained: Pod, engine: FakeEngine, urls: tuple[str, str]) -> None:
    leave(trained, {4: 3, 8: 2})
    progress = Told()
    await run(trained, urls, progress)
    assert progress.shares == sorted(progress.shares)
    assert progress.shares[-1] == pytest.approx(1)
    assert len({share for share in progress.shares if share < 0.2}) > 4


def test_what_train_leaves_is_what_is_chosen_from(
    pod: Pod, stage: Callable[..., int], base_model: Path, verifier: Verifier
) -> None:
    """Real checkpoints of a real training; the fake engine answers the same for all of them."""
    pod.config["spec"]["checkpoint"] = {"everySteps": 2, "candidates": 3}
    pod.config["spec"]["training"]["epochs"] = 1
    pod.write_source(row(f"b-{i}") | {"instruction": f"Make a bucket, b-{i} its name."} for i in range(40))
    for name in ("prepare", "train"):
        assert stage(name) == 0
    left = selection.checkpoints(pod.paths)
    assert len({checkpoint.digest for checkpoint in left}) == 3
    fake = FakeEngine(Tokenizer.from_file(str(base_model / "tokenizer.json")))

    async def evaluated() -> Any:
        async with TestServer(fake.app()) as engine, TestServer(application(Verifiers(*[verifier] * 3))) as service:
            return await run(pod, (str(engine.make_url("")).rstrip("/"), str(service.make_url("")).rstrip("/")))

    scores = asyncio.run(evaluated()).evaluate.selection
    rows = len(list(read_jsonl(pod.paths.selection_rows)))
    assert [(score.step, score.rows, score.passed) for score in scores] == [(c.step, rows, rows) for c in left]
    best = min(left, key=lambda checkpoint: losses(training_log(pod.paths))[checkpoint.step])
    assert adapter_folder_digest(pod.paths.adapter) == best.digest
