"""Stage evaluate against a fake engine (vLLM needs a minute and a gigabyte; the real one: test_trainer_evaluate_vllm)
and the real verifier service with a validator that asks no terraform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from loraform_api.artifact import PARITY_FILE
from loraform_api.evaluation import EvaluationReport
from loraform_api.failures import ExitCode
from loraform_engine.proof import adapter_folder_digest
from loraform_trainer.runtime.errors import StageError
from loraform_trainer.runtime.files import write_jsonl

from .fake_engine import PLAIN, POLICED, FakeEngine, run


def records(pod: Any) -> Iterator[dict[str, Any]]:
    for line in pod.paths.evaluation_rows.read_text().splitlines():
        yield json.loads(line)


async def test_arms_are_measured_raw_and_served(trained: Any, engine: FakeEngine, urls: tuple[str, str]) -> None:
    report = await run(trained, urls)
    result = report.evaluate
    counts = {arm.name: (arm.counts["All"].raw, arm.counts["All"].served) for arm in result.arms}
    assert counts == {"Base": (0, 2), "BaseWithPolicy": (0, 2), "Candidate": (3, 3)}
    base = result.arms[0]
    assert (base.rows, base.truncated, base.counts["Parse"].raw, base.distinct_answers) == (3, 1, 2, 3)
    assert (result.paired.candidate_only, result.paired.neither_passed) == (3, 0)
    assert result.paired.reference == "Base"
    assert len(report.encode()) < 3500
    assert report.message == (
        "passed raw, of 3 rows: Base 0, BaseWithPolicy 0, Candidate 3; candidate +100.0 points against Base"
        " (+5.2 to +100.0, each bound one-sided 95 %)"
    )


@pytest.mark.parametrize(
    ("around", "counts"),
    [
        (
            f"<think>\n```hcl\n{PLAIN}```\n</think>\nRun this first:\n```bash\nterraform init\n```\nHere it is:\n"
            '```hcl\nlocals {\n  more = "a"\n}\n```\n```hcl\nPROGRAM```\nDone.',
            {"Base": (0, 2), "BaseWithPolicy": (0, 2), "Candidate": (3, 3)},
        ),
        ("<think>\nPROGRAM", {"Base": (0, 0), "BaseWithPolicy": (0, 0), "Candidate": (0, 0)}),
    ],
    ids=["draft, commands and two files", "thought that is not closed"],
)
async def test_the_program_is_found_in_the_answers_of_every_arm(
    trained: Any, engine: FakeEngine, urls: tuple[str, str], around: str, counts: dict[str, tuple[int, int]]
) -> None:
    engine.around = around
    arms = (await run(trained, urls)).evaluate.arms
    assert {arm.name: (arm.counts["All"].raw, arm.counts["All"].served) for arm in arms} == counts
    assert {arm.truncated for arm in arms} == ({3} if counts["Candidate"] == (0, 0) else {0, 1})
    texts = [row["raw"] for row in records(trained) if not row["truncated"]]
    assert not any("terraform init" in text or "think" in text for text in texts)


async def test_requests_say_every_sampling_value(trained: Any, engine: FakeEngine, urls: tuple[str, str]) -> None:
    await run(trained, urls)
    sent = engine.requests[0]
    assert {k: sent[k] for k in sent if k != "prompt"} == {
        "model": "base", "max_tokens": 32, "n": 1, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "stop": [], "seed": 42,
        "stop_token_ids": [1], "skip_special_tokens": True,
    }  # fmt: skip
    told = [r for r in engine.requests if "PiCloud" in engine.tokenizer.decode(r["prompt"])]
    assert len(told) == 3
    assert {r["model"] for r in told} == {"base"}


async def test_drawn_answers_estimate_pass_at_k_and_decide_nothing(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    plain = (await run(trained, urls)).evaluate
    asked = len(engine.requests)
    engine.loaded.clear()  # another pod has another engine
    trained.config["spec"]["evaluation"] |= {"samplesPerPrompt": 5, "temperature": "0.7"}
    report = await run(trained, urls)
    result = report.evaluate
    assert result.paired == plain.paired
    assert [arm.counts for arm in result.arms] == [arm.counts for arm in plain.arms]
    rates = {arm.name: [(e.k, e.rate) for e in arm.pass_at_k] for arm in result.arms}
    assert rates == {
        "Base": [(1, "0.0000"), (5, "0.0000")], "BaseWithPolicy": [], "Candidate": [(1, "1.0000"), (5, "1.0000")],
    }  # fmt: skip
    sent = engine.requests[asked:]
    drawn = [r for r in sent if r["temperature"] != 0]
    assert len(sent) == len(drawn) == 30  # three rows, five answers, two arms; the greedy ones are known
    assert {(r["temperature"], r["seed"]) for r in drawn} == {(0.7, seed) for seed in range(43, 48)}
    samples = [json.loads(line) for line in trained.paths.evaluation_samples.read_text().splitlines()]
    assert len(samples) == 30
    assert {row["sample"] for row in samples} == {1, 2, 3, 4, 5}
    assert {row["sample"] for row in records(trained)} == {0}
    assert {row["servedVerdict"] for row in samples} == {None}  # pass@k is of what the model wrote
    assert len(report.encode()) < 3500


async def test_report_and_page_are_left_in_the_workspace(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    write_jsonl(trained.paths.training_log, [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.5}])
    await run(trained, urls)
    report = EvaluationReport.model_validate_json(trained.paths.evaluation_report.read_text())
    assert (report.rows, report.paired.gained, report.paired.gained_rows) == (3, 3, ["held-0", "held-1", "held-2"])
    assert [(g.name, g.rates["Candidate"].passed) for g in report.by_type] == [("aws_s3_bucket", 3)]
    assert [point.loss for point in report.loss] == [2.5, 1.5]
    page = trained.paths.evaluation_page.read_text()
    assert "The candidate is better than base" in page
    assert "training loss from 2.5 at step 1 to 1.5 at step 2" in page


async def test_rows_are_kept_for_anyone_to_check(trained: Any, engine: FakeEngine, urls: tuple[str, str]) -> None:
    report = await run(trained, urls)
    rows = list(records(trained))
    assert len(rows) == 9
    candidate = next(r for r in rows if r["arm"] == "Candidate" and r["id"] == "held-0")
    assert candidate["raw"] == candidate["served"] == POLICED.format("held-0")
    assert candidate["adapterDigest"] == adapter_folder_digest(trained.paths.adapter)
    base = next(r for r in rows if r["arm"] == "Base" and r["id"] == "held-0")
    assert base["raw"] == PLAIN.format("held-0")
    assert "PiCloud" in base["served"]
    assert base["rawVerdict"]["stages"][-1]["stage"] == "Policy"
    assert report.evaluate.parity_max_difference == "0"


async def test_a_verifier_of_another_version_is_refused_before_an_answer_is_made(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    trained.config["spec"]["evaluation"]["toolchain"] = {"terraform": "~> 1.11"}
    with pytest.raises(
        StageError, match=r"spec.evaluation.toolchain: terraform ~> 1.11 is required, but.*has none"
    ) as raised:
        await run(trained, urls)
    assert raised.value.code is ExitCode.INVALID_CONFIG
    assert engine.requests == []


async def test_an_engine_that_serves_the_base_is_found(trained: Any, engine: FakeEngine, urls: tuple[str, str]) -> None:
    engine.serves_base = True
    with pytest.raises(StageError, match="answers as the base model") as raised:
        await run(trained, urls)
    assert raised.value.code is ExitCode.ADAPTER_NOT_SERVABLE
    assert engine.requests == []


async def test_an_adapter_that_the_engine_refuses_is_not_servable(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    engine.refuses = True
    with pytest.raises(StageError, match="rank 64 is too large") as raised:
        await run(trained, urls)
    assert raised.value.code is ExitCode.ADAPTER_NOT_SERVABLE


def stage_live(pod: Any) -> str:
    """Make the candidate's adapter the live version; return its digest."""
    pod.paths.live.mkdir()
    for file in pod.paths.adapter.iterdir():
        (pod.paths.live / file.name).write_bytes(file.read_bytes())
    digest = adapter_folder_digest(pod.paths.adapter)
    pod.config["live"] = {"version": 1, "digest": digest, "path": "x"}
    return digest


async def test_a_live_version_is_an_arm_and_the_reference(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    """A against A: the same adapter as live version never counts as better. It draws the answers, not the base."""
    digest = stage_live(trained)
    trained.config["spec"]["evaluation"] |= {"samplesPerPrompt": 5}
    result = (await run(trained, urls)).evaluate
    assert [arm.name for arm in result.arms] == ["Base", "BaseWithPolicy", "Live", "Candidate"]
    assert (result.paired.reference, result.paired.both_passed, result.live_digest) == ("Live", 3, digest)
    assert [arm.name for arm in result.arms if arm.pass_at_k] == ["Live", "Candidate"]
    assert len(engine.loaded) == 1
    report = EvaluationReport.model_validate_json(trained.paths.evaluation_report.read_text())
    assert report.verdict.startswith("The candidate is the live adapter itself: +0.0 points")


async def test_a_live_version_of_another_template_leaves_the_base_as_reference(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    """Gateways refuse that version, and only a new one can replace it: it must not fail the run."""
    stage_live(trained)
    parity = json.loads((trained.paths.live / PARITY_FILE).read_text())
    (trained.paths.live / PARITY_FILE).write_text(json.dumps({**parity, "templateHash": "0" * 64}))
    result = (await run(trained, urls)).evaluate
    assert [arm.name for arm in result.arms] == ["Base", "BaseWithPolicy", "Candidate"]
    assert (result.paired.reference, result.live_digest) == ("Base", None)


async def test_a_busy_engine_is_asked_again(trained: Any, engine: FakeEngine, urls: tuple[str, str]) -> None:
    engine.failures = 2
    assert (await run(trained, urls)).evaluate.arms[-1].counts["All"].raw == 3


async def test_an_engine_that_dies_is_named_and_worth_another_pod(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    engine.failures_after = 2
    with pytest.raises(StageError, match="the engine answered 503") as raised:
        await run(trained, urls)
    assert raised.value.code is ExitCode.TRAINER_ERROR


async def test_a_prompt_without_room_for_an_answer_is_truncated(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    engine.length = 10
    result = (await run(trained, urls)).evaluate
    assert [arm.truncated for arm in result.arms] == [3, 3, 3]
    assert engine.requests == []


async def test_an_absent_verifier_is_worth_another_pod(trained: Any, urls: tuple[str, str]) -> None:
    with pytest.raises(StageError, match="the verifier was not ready after 5 s") as raised:
        await run(trained, (urls[0], "http://127.0.0.1:9"))
    assert raised.value.code is ExitCode.TRAINER_ERROR
