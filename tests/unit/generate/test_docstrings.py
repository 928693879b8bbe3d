"""Docstrings become descriptions of properties."""

from __future__ import annotations

from loraform_api.meta import ApiModel
from loraform_generate.docstrings import Documented


class Base(ApiModel):
    first_field: int
    """What the base says."""
    second: str = ""


class Child(Base):
    """A child."""

    second: str = ""
    """Said by the child,
    on two lines."""
    "No field is above this."


def test_docstrings_describe_properties() -> None:
    made = Child.model_json_schema(by_alias=True, schema_generator=Documented)
    assert made["properties"]["firstField"]["description"] == "What the base says."
    assert made["properties"]["second"]["description"] == "Said by the child,\non two lines."
    assert made["description"] == "A child."


def test_other_processes_do_not_read_docstrings() -> None:
    assert "description" not in Base.model_json_schema()["properties"]["firstField"]
