"""OpenAI's responses: text in, text out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loraform_engine.conversation import InputFrom, Question
from loraform_gateway import streaming
from loraform_gateway.errors import ApiError
from loraform_gateway.openai import parse_response

from .conftest import VALID
from .test_front import World, key_file, limit, world  # noqa: F401  # fixtures

ASKED = {"model": "house", "input": "a bucket"}
EDIT: list[dict[str, Any]] = [
    {"role": "user", "content": "a queue"},
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": VALID, "annotations": [], "logprobs": []}],
    },
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Rename it."}]},
]


def question(**fields: Any) -> Question:
    return parse_response(json.dumps({**ASKED, **fields}).encode()).question


def test_instructions_stand_before_the_instruction() -> None:
    assert question(instructions="Be terse.") == Question("Be terse.\n\na bucket", "", InputFrom.NONE)


def test_an_earlier_response_is_the_input_of_an_edit() -> None:
    assert question(input=EDIT) == Question("Rename it.", VALID.strip(), InputFrom.CONVERSATION)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ([{"type": "function_call_output", "call_id": "c", "output": "x"}], "input.0.type"),
        ([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}], "input.0.content.0.type"),
        ([{"role": "tool", "content": "x"}], "input.0.role"),
        ([], "input"),
        ("", "input"),
    ],
)
def test_other_inputs_are_refused_by_name(asked: Any, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        question(input=asked)
    assert caught.value.param == param


async def test_a_response_has_one_message_and_its_verdict(world: World) -> None:  # noqa: F811  # the fixture
    status, body = await world.post("/v1/responses", {**ASKED, "max_output_tokens": 9})
    assert (status, body["object"], body["status"], body["error"]) == (200, "response", "completed", None)
    assert body["id"].startswith("resp_")
    (message,) = body["output"]
    assert (message["type"], message["role"], message["status"]) == ("message", "assistant", "completed")
    assert message["content"] == [{"type": "output_text", "text": world.engine.text, "annotations": [], "logprobs": []}]
    assert body["usage"]["total_tokens"] == body["usage"]["input_tokens"] + body["usage"]["output_tokens"]
    assert (body["loraform"]["verdict"], body["store"], body["max_output_tokens"]) == ("Passed", False, 9)
    assert world.engine.requests[0]["max_tokens"] == 9


async def test_a_response_that_was_cut_is_incomplete(world: World) -> None:  # noqa: F811  # the fixture
    world.engine.finish_reason = "length"
    _, body = await world.post("/v1/responses", ASKED)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["loraform"]["verdict"] == "Truncated"


async def events_of(world: World, body: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: F811  # the fixture
    reply = await world.client.post("/v1/responses", json={**body, "stream": True})
    blocks = [block.split("\n") for block in (await reply.text()).strip().split("\n\n") if block[0] != ":"]
    events = [json.loads(data.removeprefix("data: ")) for _, data in blocks]
    assert [name for name, _ in blocks] == [f"event: {event['type']}" for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


@pytest.mark.parametrize("fields", [{}, {"loraform": {"verify": "off"}}], ids=["verified", "raw"])
async def test_a_stream_has_openais_events_in_their_order(
    world: World,  # noqa: F811  # the fixture
    fields: dict[str, Any],
) -> None:
    events = await events_of(world, {**ASKED, **fields})
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * deltas,
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert deltas == 2
    assert "".join(event.get("delta", "") for event in events) == world.engine.text
    last = events[-1]["response"]
    assert last["output"][0]["content"][0]["text"] == world.engine.text
    assert last["loraform"]["verdict"] == ("Unverified" if fields else "Passed")
    assert last["usage"]["output_tokens"] == 7


async def test_a_late_error_ends_a_stream_as_a_failed_response(
    world: World,  # noqa: F811  # the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "PATIENCE_SECONDS", 0.0)
    world.engine.loaded.clear()
    *_, last = await events_of(world, ASKED)
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "engine_unreachable"
