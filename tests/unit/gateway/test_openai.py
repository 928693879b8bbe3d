"""Accepted requests, and errors of refused ones."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from loraform_engine.conversation import InputFrom, Question
from loraform_engine.sampling import Sampling
from loraform_gateway.errors import ApiError
from loraform_gateway.forwarded import ForwardedCompletion
from loraform_gateway.openai import (
    ChatRequest,
    Item,
    LoraformOptions,
    Message,
    ResponseRequest,
    StreamOptions,
    parse_chat,
    parse_completion,
)


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "house", "messages": [{"role": "user", "content": "a bucket"}], **fields}).encode()


def completion(prompt: Any, **fields: Any) -> bytes:
    return json.dumps({"model": "house", "prompt": prompt, **fields}).encode()


SAMPLING: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.1,
    "seed": 3,
}
EDIT: list[dict[str, Any]] = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "a queue"},
    {"role": "assistant", "content": 'resource "aws_sqs_queue" "q" {\n}\n'},
]


def test_a_chat_has_defaults() -> None:
    asked = parse_chat(chat())
    assert asked.question == Question("a bucket", "", InputFrom.NONE)
    assert (asked.sampling, asked.n, asked.stream, asked.verify) == (Sampling(), 1, False, True)


def test_every_field_of_a_chat_is_read() -> None:
    asked = parse_chat(
        chat(
            messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            n=3,
            max_completion_tokens=9,
            max_tokens=7,
            stop="END",
            stream=True,
            stream_options={"include_usage": True},
            loraform={"verify": "off", "input": "name: a"},
            **SAMPLING,
        )
    )
    assert asked.question == Question("a\nb", "name: a", InputFrom.FIELD)
    assert (asked.max_tokens, asked.n) == (9, 3)
    assert asked.sampling == Sampling(**SAMPLING, stop=["END"])
    assert (asked.stream, asked.include_usage, asked.verify) == (True, True, False)


def test_the_prompt_of_a_completion_is_the_instruction() -> None:
    assert parse_completion(completion("a bucket")).question == Question("a bucket", "", InputFrom.NONE)


def test_a_completion_has_its_input_in_the_field_or_in_a_fence() -> None:
    asked = parse_completion(completion("a bucket", loraform={"input": "name: a"}))
    assert asked.question == Question("a bucket", "name: a", InputFrom.FIELD)
    asked = parse_completion(completion("a bucket\n```\nname: a\n```"))
    assert asked.question == Question("a bucket", "name: a", InputFrom.FENCE)


def test_a_null_input_is_an_absent_one_and_an_empty_one_is_explicit() -> None:
    message = "a bucket\n```\nname: a\n```"
    for value, expected in ((None, InputFrom.FENCE), ("", InputFrom.FIELD)):
        asked = parse_completion(completion(message, loraform={"input": value}))
        assert asked.question.input_from is expected


def test_the_program_of_the_last_answer_is_the_input_of_an_edit() -> None:
    asked = parse_chat(chat(messages=[*EDIT, {"role": "user", "content": "Make it FIFO."}]))
    expected = Question("You are terse.\n\nMake it FIFO.", str(EDIT[2]["content"]).strip(), InputFrom.CONVERSATION)
    assert asked.question == expected


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (chat(n=5), "n", "`n`: Input should be less than or equal to 4"),
        (chat(stop=["a"] * 5), "stop", "`stop`: List should have at most 4 items"),
        (chat(stop=""), "stop.0", "`stop.0`: String should have at least 1 character"),
        (chat(stop="x" * 201), "stop.0", "`stop.0`: String should have at most 200 characters"),
        (chat(presence_penalty=-2.5), "presence_penalty", "should be greater than or equal to -2"),
        (chat(repetition_penalty=0), "repetition_penalty", "should be greater than or equal to 0.1"),
        (chat(temperature=float("nan")), "temperature", "`temperature`: Input should be"),
        (chat(top_k=-2), "top_k", "should be greater than or equal to -1"),
        (chat(stream_options={"x": 1}), "stream_options.x", "is not supported by this gateway"),
        (chat(temperature=3), "temperature", "`temperature`: Input should be less than or equal to 2"),
        (chat(max_tokens=0), "max_tokens", "`max_tokens`: Input should be greater than or equal to 1"),
        (chat(loraform={"verify": "maybe"}), "loraform.verify", "`loraform.verify`: Input should be 'on' or 'off'"),
        (chat(messages=[]), "messages", "`messages`: the last message must be of role 'user': it is the instruction"),
        (chat(messages=EDIT), "messages", "`messages`: the last message must be of role 'user'"),
        (
            chat(messages=[*EDIT, {"role": "tool", "tool_call_id": "1", "content": "y"}]),
            "messages.3.role",
            "`messages.3.role`: Input should be 'system', 'developer', 'user' or 'assistant'",
        ),
        (chat(messages=[{"role": "user", "content": "  "}]), "messages", "must not be empty: it is the instruction"),
        (
            chat(messages=[{"role": "user", "content": "x" * 100_001}]),
            "messages",
            "`messages`: the instruction has 100001 characters, allowed are at most 100000: shorten it",
        ),
        (
            chat(messages=[{"role": "user", "content": f"Mend.\n```\n{'x' * 200_001}\n```"}]),
            "messages",
            "`messages`: the input has 200001 characters, allowed are at most 200000: shorten it",
        ),
        (
            chat(loraform={"input": "x" * 200_001}),
            "loraform.input",
            "`loraform.input`: String should have at most 200000 characters",
        ),
        (chat(loraform={"input": ["a"]}), "loraform.input", "`loraform.input`: Input should be a valid string"),
        (
            chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
            "messages.0.content.0.type",
            "`messages.0.content.0.type`: Input should be 'text'",
        ),
        (
            chat(messages=[{"role": "user", "content": None}]),
            "messages.0.content",
            "`messages.0.content`: Input should be a valid string",
        ),
        (chat(**{"x" * 1000: 1}), "x" * 100, f"`{'x' * 100}`: is not supported by this gateway"),
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


def test_a_body_of_many_errors_costs_little() -> None:
    zeros = [0] * 1000
    bodies = [chat(messages=[{"role": "user", "content": zeros * 600}]), chat(messages=zeros)]
    bodies.append(chat(messages=[{"role": "user", "content": zeros}] * 600))
    before = process_time()
    for body in bodies:
        with pytest.raises(ApiError):
            parse_chat(body)
    assert process_time() - before < 1


@pytest.mark.parametrize(
    "kind", [ChatRequest, ResponseRequest, Message, Item, LoraformOptions, StreamOptions, ForwardedCompletion]
)
def test_of_many_unknown_fields_the_first_alone_is_an_error(kind: type[BaseModel]) -> None:
    """Errors for the hundred thousand that a body can have take two thirds of a second."""
    with pytest.raises(ValidationError) as caught:
        kind.model_validate({str(number): 1 for number in range(1000)})
    unknown = [error["loc"] for error in caught.value.errors() if error["type"] == "extra_forbidden"]
    assert unknown == [("0",)]


def test_a_message_is_not_divided_before_its_length_is_known() -> None:
    asked = [{"role": "assistant", "content": "```a\n" * 100_000}, {"role": "user", "content": "x"}]
    with pytest.raises(ApiError, match="`messages`: a message has 500000 characters, allowed are at most 300000"):
        parse_chat(chat(messages=asked))


def test_what_clients_add_to_messages_changes_nothing() -> None:
    part = {"type": "text", "text": "a bucket", "cache_control": {"type": "ephemeral"}}
    assert parse_chat(chat(messages=[{"role": "user", "content": [part]}])) == parse_chat(chat())
    earlier = {**EDIT[2], "refusal": None, "annotations": [], "audio": None, "function_call": None, "tool_calls": None}
    edit = {"role": "user", "content": "Make it FIFO."}
    whole = parse_chat(chat(messages=[*EDIT[:2], {**earlier, "reasoning_content": ""}, edit]))
    assert whole == parse_chat(chat(messages=[*EDIT, edit]))


def test_a_call_of_a_tool_in_a_message_is_refused() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    with pytest.raises(ApiError) as caught:
        parse_chat(chat(messages=[{**EDIT[2], "tool_calls": [call]}, {"role": "user", "content": "x"}]))
    assert caught.value.param is not None
    assert caught.value.param.startswith("messages.0.tool_calls")


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ApiError, match="`prompt` must not be empty: it is the instruction"):
        parse_completion(completion(" "))


def test_token_ids_are_refused_as_a_prompt() -> None:
    with pytest.raises(ApiError, match="`prompt`: Input should be a valid string"):
        parse_completion(completion([1, 2]))


def test_refusals_never_quote_the_prompt() -> None:
    with pytest.raises(ApiError) as caught:
        parse_chat(json.dumps({"model": 7, "messages": [{"role": "user", "content": {"secret": "hunter2"}}]}).encode())
    assert "hunter2" not in str(caught.value.body())
