"""Which jobs are candidates, how they become versions, and which versions are kept."""

from __future__ import annotations

import pytest

from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import Decision
from loraform_operator.iacmodel.versions import expired, is_candidate, new_versions, read_versions, revision, undecided
from loraform_operator.kube.errors import InvalidSpec


def test_candidates_are_succeeded_jobs_of_this_model(build) -> None:
    assert is_candidate(build.job(1), "house")
    assert not is_candidate(build.job(1, reference="other"), "house")
    assert not is_candidate(build.job(1, reference=None), "house")
    assert not is_candidate(build.job(1, succeeded="False"), "house")
    assert not is_candidate(build.job(1, evaluation=None), "house")
    assert not is_candidate(build.job(1, evaluation={**build.evaluation(), "arms": []}), "house")


def test_candidates_come_in_order_of_completion_and_only_once(build) -> None:
    jobs = [build.job(3, minute=30), build.job(1, minute=40), build.job(2, minute=20)]
    assert [j.metadata.name for j in undecided(jobs, [], "house", None)] == ["job-2", "job-3", "job-1"]
    assert [j.metadata.name for j in undecided(jobs, [build.version(3)], "house", None)] == ["job-2", "job-1"]


def test_a_job_whose_version_was_pruned_is_not_decided_again(build) -> None:
    versions = [build.version(6), build.version(5), build.version(1)]  # 2 to 4 are pruned, 1 is live
    jobs = [build.job(n) for n in range(1, 8)]
    assert [j.metadata.name for j in undecided(jobs, versions, "house", build.digest(1))] == ["job-7"]


def test_version_numbers_continue_and_records_are_complete(build) -> None:
    live = build.version(4)
    better = build.evaluation(live=live.artifact_digest)
    jobs = [build.job(5, evaluation=better), build.job(6)]
    first, second = new_versions(build.model(), jobs, [live], live)
    assert (first.version, first.decision, first.replaced_digest) == (5, Decision.ACCEPTED, live.artifact_digest)
    assert (second.version, second.decision) == (6, Decision.LIVE_CHANGED)
    assert (first.base_model_uri, first.artifact_uri, first.rank) == (
        "pvc://bases/tiny",
        "pvc://store/adapters/job-5",
        32,
    )


def test_decisions_on_the_same_suite_rows_are_counted(build) -> None:
    def job(number: int, suite: str):
        evaluation = build.evaluation(gained=1, lost=1) | {"suiteDigest": suite * 64}
        return build.job(number, evaluation=evaluation)

    first, second, other = new_versions(build.model(), [job(1, "a"), job(2, "a"), job(3, "b")], [], None)
    (third,) = new_versions(build.model(), [job(4, "a")], [other, second, first], None)
    assert [v.suite_decisions for v in (first, second, other, third)] == [1, 2, 1, 3]
    assert third.message.endswith("; decision 3 on the same rows, each with a 5 % chance of a false positive")
    assert "decision" not in first.message
    # Unknown suite digests do not count as the same suite.
    assert new_versions(build.model(), [build.job(5)], [build.version(4)], None)[0].suite_decisions == 1


def test_the_live_adapter_is_not_better_than_itself(build) -> None:
    live = build.version(4)
    job = build.job(4, evaluation=build.evaluation(live=live.artifact_digest))
    again = new_versions(build.model(), [job], [live], live)[0]
    assert again.decision is Decision.NOT_BETTER_THAN_LIVE
    assert again.message.startswith(
        "the candidate is the live adapter itself (version 4): raw, all stages: candidate 0.9750"
    )
    lenient = build.model(promotion={"requireBetterThanLive": False})
    assert new_versions(lenient, [job], [live], live)[0].decision is Decision.ACCEPTED


def test_a_revision_is_named_by_its_job_and_can_be_read_back(build) -> None:
    record = build.version(7)
    obj = revision(build.model(), record)
    assert obj["metadata"]["name"].startswith("house-")
    assert (
        obj["metadata"]["name"] == revision(build.model(), record.model_copy(update={"version": 9}))["metadata"]["name"]
    )
    assert obj["revision"] == 7
    assert obj["metadata"]["ownerReferences"][0]["uid"] == "model-uid"
    assert read_versions([obj]) == (record,)


def test_a_record_of_another_version_of_the_operator_is_named_and_not_skipped(build) -> None:
    """Skipped, it would lose the live version, and its number would be given again."""
    old = revision(build.model(), build.version(7))
    del old["data"]["maxNewTokens"]
    with pytest.raises(InvalidSpec, match=r"ControllerRevision `house-\w+` is unreadable: maxNewTokens: .*delete it"):
        read_versions([old, revision(build.model(), build.version(6))])


@pytest.mark.parametrize(
    ("limit", "in_use", "expected"),
    [(10, [], []), (2, [1], [2]), (1, [1], [3, 2]), (1, [1, 4], [2]), (1, [], [3, 2, 1])],
)
def test_history_keeps_newest_and_used_versions(build, limit, in_use, expected) -> None:
    refused = Decision.NOT_BETTER_THAN_LIVE
    versions = [build.version(n, Decision.ACCEPTED if n == 1 else refused) for n in (4, 3, 2, 1)]
    if not in_use:  # a newer accepted version is the target: it stays although no route names it yet
        versions.insert(0, build.version(5))
    versions_to_delete = expired(versions, limit, {build.digest(n) for n in in_use})
    assert [v.version for v in versions_to_delete] == expected


@pytest.mark.parametrize(
    ("created", "template", "expected"),
    [
        ("2026-01-01T00:02:00Z", 13, Decision.ACCEPTED),
        ("2026-01-01T00:02:00Z", 15, Decision.LIVE_CHANGED),
        ("2026-01-01T00:00:00Z", 13, Decision.LIVE_CHANGED),
    ],
    ids=["live cannot answer any more", "live could answer", "older than live"],
)
def test_a_live_version_of_an_older_template_is_replaced_by_what_was_measured_against_the_base(
    build, created: str, template: int, expected: Decision
) -> None:
    """Otherwise no run could ever replace a version whose state is TemplateMismatch."""
    body = build.job(2).model_dump(mode="json", by_alias=True, exclude_none=True)
    body["metadata"]["creationTimestamp"] = created
    body["status"]["provenance"]["templateHash"] = build.digest(template)
    job = FineTuneJob.model_validate(body)
    live = build.version(1)
    assert new_versions(build.model(), [job], [live], live)[0].decision is expected
