"""Which types carry tags, by the bundled schema of the provider."""

from __future__ import annotations

import pytest

from loraform_verifier.policy.taggable import Tagging, tagging_of
from loraform_verifier.schema.catalogue import default


@pytest.mark.parametrize(
    ("resource_type", "tagging"),
    [
        ("aws_instance", Tagging.ARGUMENT),
        ("aws_autoscaling_group", Tagging.BLOCKS),
        ("aws_autoscaling_group_tag", None),  # one tag of another resource
        ("aws_s3_bucket_policy", None),
        ("aws_nothing", None),
        ("terraform_data", None),
        ("other_thing", None),
        ("", None),
    ],
)
def test_tagging_follows_the_schema(resource_type: str, tagging: Tagging | None) -> None:
    assert tagging_of(resource_type) is tagging


def test_the_provider_has_748_types_with_an_argument_and_one_with_blocks() -> None:
    aws = default().local("aws")
    assert aws is not None
    found = [tagging_of(name) for name in aws.types("resource")]
    assert (found.count(Tagging.ARGUMENT), found.count(Tagging.BLOCKS)) == (748, 1)
