"""Several answers to one request, and whether an answer is as its version was measured."""

from __future__ import annotations

from typing import Any

import pytest

from .test_front import CHAT, PROMPT, World, key_file, limit, world  # noqa: F401  # fixtures

SAMPLED = {"n": 2, "temperature": 0.7}
OTHER = 'resource "aws_sqs_queue" "q" {\n}\n'


async def test_each_choice_is_verified_and_has_its_own_verdict(world: World) -> None:  # noqa: F811  # the fixture
    world.engine.texts = {1: OTHER}
    world.verifier.passes = lambda stage, text: "sqs" not in text
    status, body = await world.post("/v1/chat/completions", {**CHAT, **SAMPLED})
    assert status == 200
    assert [(c["index"], c["message"]["content"]) for c in body["choices"]] == [(0, world.engine.text), (1, OTHER)]
    assert [c["loraform"]["verdict"] for c in body["choices"]] == ["Passed", "Failed"]
    assert "loraform" not in body
    assert world.engine.requests[0]["n"] == 2


async def test_greedy_choices_are_generated_and_verified_once(world: World) -> None:  # noqa: F811  # the fixture
    _, body = await world.post("/v1/completions", {**PROMPT, "n": 3})
    assert [c["text"] for c in body["choices"]] == [world.engine.text] * 3
    assert {c["loraform"]["asMeasured"] for c in body["choices"]} == {True}
    assert [request["n"] for request in world.engine.requests] == [1]
    assert len(world.verifier.requests) == 1


@pytest.mark.parametrize("fields", [{}, {"loraform": {"verify": "off"}}], ids=["verified", "raw"])
@pytest.mark.parametrize("temperature", [0, 0.7])
async def test_a_stream_has_the_text_and_the_end_of_each_choice(
    world: World,  # noqa: F811  # the fixture
    fields: dict[str, Any],
    temperature: float,
) -> None:
    asked = {**CHAT, **fields, "n": 2, "temperature": temperature, "stream_options": {"include_usage": True}}
    chunks, _ = await world.events("/v1/chat/completions", asked)
    *chunks, usage = chunks
    for index in range(2):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert [c["delta"].get("role") for c in own if "role" in c["delta"]] == ["assistant"]
        assert "".join(c["delta"].get("content", "") for c in own) == world.engine.text
        assert [c["finish_reason"] for c in own if c["finish_reason"]] == ["stop"]
        assert own[-1]["loraform"]["verdict"] == ("Unverified" if fields else "Passed")
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 7)


@pytest.mark.parametrize(
    ("fields", "measured", "tokens", "finish", "as_measured"),
    [
        ({}, 10, 7, "stop", True),
        ({}, 10, 10, "length", True),
        ({"max_tokens": 12}, 10, 7, "stop", True),
        ({"max_tokens": 8}, 10, 7, "stop", True),
        ({"max_tokens": 12}, 10, 12, "length", False),
        ({"max_tokens": 12}, 10, 11, "stop", False),
        ({"max_tokens": 7}, 10, 7, "length", False),
        ({"temperature": 0.2}, 10, 7, "stop", False),
        ({"stop": "\n\n"}, 10, 7, "stop", False),
    ],
    ids=[
        *("the defaults", "cut where the evaluation cut", "a higher limit without effect"),
        *("a lower limit without effect", "longer than the evaluation's", "ended after the evaluation's limit"),
        *("cut earlier", "sampled", "a stop word"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_says_whether_the_evaluation_would_have_given_it(  # noqa: PLR0917  # a table's columns
    world: World,  # noqa: F811  # the fixture
    make_route,
    fields: dict[str, Any],
    measured: int,
    tokens: int,
    finish: str,
    as_measured: bool,
    stream: bool,
) -> None:
    world.front._follower.route = make_route(world.adapter.model_copy(update={"max_new_tokens": measured}))
    world.engine.tokens, world.engine.finish_reason = tokens, finish
    asked = {**PROMPT, **fields, "loraform": {"verify": "off"}}
    if stream:
        chunks, _ = await world.events("/v1/completions", asked)
        loraform = chunks[-1]["loraform"]
    else:
        loraform = (await world.post("/v1/completions", asked))[1]["loraform"]
    assert loraform["asMeasured"] is as_measured
