from __future__ import annotations

from typing import Any

import pytest

from loraform_operator.kube.children import is_owned


@pytest.mark.parametrize(
    ("meta", "owned"),
    [
        ({}, False),
        ({"labels": None, "ownerReferences": None}, False),
        ({"labels": {"loraform.dev/owner-uid": "u1"}}, True),
        ({"labels": {"loraform.dev/owner-uid": "u2"}}, False),
        ({"ownerReferences": [{"uid": "u2"}, {"uid": "u1"}]}, True),
        ({"ownerReferences": [{"uid": "u2"}]}, False),
    ],
)
def test_label_or_owner_reference_name_the_owner(meta: dict[str, Any], owned: bool) -> None:
    assert is_owned({"metadata": meta}, "u1") is owned
