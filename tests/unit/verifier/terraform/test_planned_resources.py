"""Values of planned resources."""

from __future__ import annotations

from loraform_verifier.terraform.planned_resources import values_at


def test_paths_run_through_lists() -> None:
    after = {"ingress": [{"cidr_blocks": ["a", "b"]}, {"cidr_blocks": ["c"]}], "n": 1}
    assert list(values_at(after, "ingress.cidr_blocks")) == ["a", "b", "c"]
    assert list(values_at(after, "n")) == [1]
    assert list(values_at({"ingress": True}, "ingress.cidr_blocks")) == [True]
