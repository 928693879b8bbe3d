"""Errors have OpenAI's types, by which its clients choose exceptions and repetitions."""

from __future__ import annotations

import pytest

from loraform_gateway.errors import ApiError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_an_errors_type_is_openais(status: int, kind: str) -> None:
    assert ApiError(status, "code", "message").body()["error"]["type"] == kind
