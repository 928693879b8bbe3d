"""Which fields of OpenAI's requests are accepted, and which are refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loraform_engine.sampling import Sampling
from loraform_gateway.errors import ApiError
from loraform_gateway.fields import RULES, Api, rules_of
from loraform_gateway.openai import (
    AnswerRequest,
    ChatRequest,
    CompletionRequest,
    ResponseRequest,
    parse_chat,
    parse_completion,
    parse_response,
)

PARSERS = {Api.CHAT: parse_chat, Api.COMPLETIONS: parse_completion, Api.RESPONSES: parse_response}
ASKED = {
    Api.CHAT: {"messages": [{"role": "user", "content": "a queue"}]},
    Api.COMPLETIONS: {"prompt": "a queue"},
    Api.RESPONSES: {"input": "a queue"},
}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
NEUTRAL: dict[str, list[Any]] = {
    "metadata": [{}, {"a": "b"}],
    "prompt_cache_key": ["k"],
    "prompt_cache_options": [{"mode": "auto"}],
    "prompt_cache_retention": ["24h"],
    "safety_identifier": ["s"],
    "service_tier": ["auto", "flex"],
    "user": ["me"],
    "parallel_tool_calls": [True, False],
    "store": [True, False],
    "prediction": [{"type": "content", "content": "x"}],
    "max_tool_calls": [3],
    "tool_choice": ["none", "auto"],
    "tools": [[]],
    "function_call": ["none", "auto"],
    "functions": [[]],
    "response_format": [{"type": "text"}],
    "text": [{}, {"format": {"type": "text"}, "verbosity": "medium"}, {"verbosity": None}],
    "modalities": [["text"]],
    "verbosity": ["medium"],
    "reasoning_effort": ["none"],
    "reasoning": [{}, {"effort": None, "summary": "auto"}, {"effort": "none"}],
    "logprobs": [False],
    "top_logprobs": [0],
    "logit_bias": [{}],
    "best_of": [1],
    "echo": [False],
    "suffix": [""],
    "background": [False],
    "truncation": ["disabled"],
    "include": [[], ["reasoning.encrypted_content"]],
    "context_management": [[]],
}
REFUSED: dict[str, list[Any]] = {
    "tool_choice": ["required", {"type": "function", "function": {"name": "f"}}],
    "tools": [TOOLS],
    "function_call": [{"name": "f"}],
    "functions": [[{"name": "f"}]],
    "response_format": [{"type": "json_object"}, {"type": "json_schema", "json_schema": {}}],
    "text": [{"format": {"type": "json_object"}}, {"verbosity": "low"}, {"x": 1}, "text"],
    "modalities": [["text", "audio"], []],
    "verbosity": ["low"],
    "reasoning_effort": ["high"],
    "reasoning": [{"effort": "high"}, {"x": 1}],
    "logprobs": [True, 0, 5],
    "top_logprobs": [5, False],
    "logit_bias": [{"50256": -100}],
    "best_of": [3],
    "echo": [True],
    "suffix": ["}"],
    "background": [True],
    "truncation": ["auto"],
    "include": [["message.output_text.logprobs"]],
    "context_management": [[{"type": "compaction"}]],
    "audio": [{"voice": "alloy", "format": "mp3"}],
    "web_search_options": [{}],
    "moderation": [{"model": "m"}],
    "previous_response_id": ["resp_1"],
    "conversation": ["conv_1"],
    "prompt": [{"id": "pmpt_1"}],
}


def parse(api: Api, **fields: Any) -> AnswerRequest:
    return PARSERS[api](json.dumps({"model": "house", **ASKED[api], **fields}).encode())


def cases(values: dict[str, list[Any]]) -> list[tuple[Api, str, Any]]:
    """Return every value of every field that has rule of its own, on each path that has the field."""
    rules = [(api, rule.name) for rule in RULES if rule.neutral for api in Api if api in rule.apis]
    return [(api, name, value) for api, name in rules for value in values.get(name, [])]


@pytest.mark.parametrize("api", list(Api))
def test_null_is_the_same_as_an_absent_field(api: Api) -> None:
    nulls = {name: None for name in rules_of(api) if name not in ("model", *ASKED[api])}
    assert parse(api, **nulls) == parse(api)


@pytest.mark.parametrize(
    ("api", "name", "value"),
    [case for case in cases(NEUTRAL) if case[:2] != (Api.COMPLETIONS, "logprobs")],
)
def test_a_value_that_changes_nothing_is_accepted(api: Api, name: str, value: Any) -> None:
    assert parse(api, **{name: value}) == parse(api)


@pytest.mark.parametrize(("api", "name", "value"), cases(REFUSED))
def test_a_value_that_would_change_the_answer_is_refused_by_name(api: Api, name: str, value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        parse(api, **{name: value})
    error = caught.value.body()["error"]
    assert (caught.value.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (name, "unsupported_value")
    assert error["message"].startswith(f"`{name}` is not supported at this value: ")
    assert error["message"].endswith(f"leave it out, or send {rules_of(api)[name].says}")


def test_every_rule_has_both_kinds_of_values_here() -> None:
    free = {rule.name for rule in RULES if rule.says.startswith("any value")}
    limited = {rule.name for rule in RULES if rule.neutral} - free
    assert set(REFUSED) == limited
    assert set(NEUTRAL) == free | {rule.name for rule in RULES if rule.neutral and rule.says != "null"}


def test_a_request_with_all_neutral_fields_at_once_is_the_plain_one() -> None:
    """What one client or another sends in each request."""
    fields = {
        **{"stop": None, "tools": [], "tool_choice": "none", "parallel_tool_calls": False, "presence_penalty": 0},
        **{"frequency_penalty": 0, "logprobs": False, "logit_bias": {}, "response_format": {"type": "text"}},
        **{"service_tier": "auto", "n": 1, "stream": None, "stream_options": None, "modalities": ["text"]},
    }
    assert parse(Api.CHAT, **fields) == parse(Api.CHAT)


def test_tools_that_must_not_be_called_change_nothing() -> None:
    assert parse(Api.CHAT, tools=TOOLS, tool_choice="none") == parse(Api.CHAT)
    assert parse(Api.CHAT, functions=[{"name": "f"}], function_call="none") == parse(Api.CHAT)


def test_a_demand_for_tools_is_named_before_the_tools() -> None:
    with pytest.raises(ApiError) as caught:
        parse(Api.CHAT, tools=TOOLS, tool_choice="required")
    assert caught.value.param == "tool_choice"
    assert caught.value.message == (
        "`tool_choice` is not supported at this value: the model calls no tools; leave it out, or send none, auto"
    )


@pytest.mark.parametrize("api", list(Api))
def test_an_unknown_field_is_refused_and_its_name_is_cut(api: Api) -> None:
    with pytest.raises(ApiError) as caught:
        parse(api, **{"x" * 1000: 1})
    assert (caught.value.param, caught.value.code) == ("x" * 100, "unknown_parameter")
    assert len(caught.value.message) < 200


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ApiError) as caught:
        parse(Api.CHAT, model=None)
    assert (caught.value.param, caught.value.code) == ("model", "missing_required_parameter")


def test_every_field_that_is_used_has_a_rule() -> None:
    for api, kind in (
        (Api.CHAT, ChatRequest),
        (Api.COMPLETIONS, CompletionRequest),
        (Api.RESPONSES, ResponseRequest),
    ):
        assert {name for name, rule in rules_of(api).items() if not rule.neutral} == set(kind.model_fields)


def test_a_field_has_one_rule_on_each_path() -> None:
    for api in Api:
        assert len(rules_of(api)) == sum(api in rule.apis for rule in RULES)


@pytest.mark.parametrize(
    ("fields", "as_measured"),
    [
        ({}, True),
        ({"top_p": 0.5, "top_k": 5, "min_p": 0.1, "seed": 3}, True),
        ({"temperature": 0.1}, False),
        ({"stop": ["\n\n"]}, False),
        ({"presence_penalty": 0.1}, False),
        ({"frequency_penalty": -0.1}, False),
        ({"repetition_penalty": 1.1}, False),
    ],
)
def test_sampling_is_as_measured_if_it_gives_the_tokens_of_greedy_decoding(
    fields: dict[str, Any], as_measured: bool
) -> None:
    assert Sampling(**fields).as_measured is as_measured
