from loraform_api.meta import Condition, Scheme, merge_conditions, split_uri


def condition(status: str, time: str) -> Condition:
    return Condition.model_validate({"type": "Ready", "status": status, "lastTransitionTime": time, "reason": "R"})


def test_transition_time_is_kept_while_the_status_stays() -> None:
    old, new = condition("True", "2026-01-01T00:00:00Z"), condition("True", "2026-01-02T00:00:00Z")
    assert merge_conditions([old], [new])[0].last_transition_time == "2026-01-01T00:00:00Z"


def test_transition_time_moves_when_the_status_flips() -> None:
    old, new = condition("False", "2026-01-01T00:00:00Z"), condition("True", "2026-01-02T00:00:00Z")
    assert merge_conditions([old], [new])[0].last_transition_time == "2026-01-02T00:00:00Z"


def test_a_storage_uri_is_split_into_scheme_and_rest() -> None:
    assert split_uri("s3://bucket/folder") == (Scheme.S3, "bucket/folder")
    assert Scheme.S3.uri("bucket/folder") == "s3://bucket/folder"
