"""Accepted requests, and errors of refused ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loraform_gateway.errors import ApiError
from loraform_gateway.openai import parse_chat, parse_completion


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "house", "messages": [{"role": "user", "content": "a bucket"}], **fields}).encode()


def test_a_chat_has_defaults() -> None:
    asked = parse_chat(chat())
    assert (asked.instruction, asked.temperature, asked.top_p, asked.stream, asked.verify) == (
        "a bucket",
        0.0,
        1.0,
        False,
        True,
    )


def test_every_field_of_a_chat_is_read() -> None:
    asked = parse_chat(
        chat(
            messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            temperature=0.7,
            top_p=0.9,
            seed=3,
            n=1,
            max_completion_tokens=9,
            stream=True,
            stream_options={"include_usage": True},
            user="me",
            loraform={"verify": "off"},
        )
    )
    assert (asked.instruction, asked.max_tokens, asked.seed) == ("a\nb", 9, 3)
    assert (asked.stream, asked.include_usage, asked.verify) == (True, True, False)


def test_the_prompt_of_a_completion_is_the_instruction() -> None:
    assert parse_completion(b'{"model": "house", "prompt": "a bucket"}').instruction == "a bucket"


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (chat(tools=[]), "tools", "`tools`: is not supported by this gateway"),
        (chat(n=2), "n", "`n`: Input should be 1"),
        (chat(temperature=3), "temperature", "`temperature`: Input should be less than or equal to 2"),
        (chat(max_tokens=0), "max_tokens", "`max_tokens`: Input should be greater than or equal to 1"),
        (chat(loraform={"verify": "maybe"}), "loraform.verify", "`loraform.verify`: Input should be 'on' or 'off'"),
        (chat(messages=[]), "messages", "the request has roles: none"),
        (
            chat(messages=[{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]),
            "messages",
            "exactly one message, of role 'user'",
        ),
        (chat(messages=[{"role": "user", "content": "  "}]), "messages", "must not be empty: it is the instruction"),
        (chat(messages=[{"role": "user", "content": "x" * 100_001}]), "messages", "at most 100000 characters"),
        (b"{", None, "must be a JSON object"),
        (b"\xff", None, "must be a JSON object"),
    ],
)
def test_refusals_name_the_field(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_chat(body)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert message in caught.value.message


def test_token_ids_are_refused_as_a_prompt() -> None:
    with pytest.raises(ApiError, match="`prompt`: Input should be a valid string"):
        parse_completion(b'{"model": "house", "prompt": [1, 2]}')


def test_refusals_never_quote_the_prompt() -> None:
    with pytest.raises(ApiError) as caught:
        parse_chat(json.dumps({"model": 7, "messages": [{"role": "user", "content": {"secret": "hunter2"}}]}).encode())
    assert "hunter2" not in str(caught.value.body())
