"""From the first version to a restarted engine: real vLLM, agent, gateway, verifier and terraform; stub operator.

One scenario in steps that build on each other, because a vLLM takes a minute to start.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from typing import Any

import pytest

from loraform_api.heartbeat import adapter_name

from ..waiting import wait_for

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        not (os.environ.get("LORAFORM_VLLM") or shutil.which("vllm")) or shutil.which("terraform") is None,
        reason="needs vLLM (LORAFORM_VLLM or on PATH) and terraform with a provider mirror",
    ),
]


def events(text: str) -> list[dict[str, Any]]:
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(d) for d in data[:-1]]


def test_serving_end_to_end(world: Any, models: Any) -> None:
    tagged, plain = world.adapter(1, "tagged"), world.adapter(2, "plain")
    _the_first_version_goes_live(world, models, tagged)
    _streams(world, models)
    _only_inference_paths_pass(world)
    _the_second_is_loaded_beside_the_first(world, models, tagged, plain)
    _broken_adapters_are_not_servable(world, plain)
    _an_absent_operator_changes_nothing(world)
    _a_paused_engine_keeps_its_adapters(world)
    _a_new_agent_proves_what_is_loaded(world, plain)
    _a_restarted_engine_is_loaded_and_proved_again(world, plain)


def _the_first_version_goes_live(world: Any, models: Any, tagged: Any) -> None:
    world.route(None, tagged)
    message = world.await_state(tagged, "Ready", 900)
    assert message.startswith("largest log-probability difference to the trained adapter")
    status, text, headers = world.post("/v1/chat/completions", {"model": "house", "messages": []})
    assert status == 400
    body = {"model": "house", "prompt": "x"}
    status, text, headers = world.post("/v1/completions", body)
    assert (status, json.loads(text)["error"]["code"], headers["Retry-After"]) == (503, "no_live_version", "15")
    world.route(tagged)
    world.await_version(1)
    answer = world.chat()
    assert answer["choices"][0]["message"]["content"] == models.TAGGED
    field = answer["loraform"]
    assert (field["verified"], field["rawPassed"], field["rewritten"], field["version"]) == (True, True, False, 1)
    assert [(s["stage"], s["passed"]) for s in field["stages"]] == [
        ("Parse", True),
        ("Validate", True),
        ("Policy", True),
    ]
    assert world.ready(world.gateway_port)
    assert world.ready(world.agent_port)


def _streams(world: Any, models: Any) -> None:
    body = {"model": "house", "prompt": "Make a bucket.", "stream": True}
    _, text, _ = world.post("/v1/completions", body)
    *pieces, last = events(text)
    assert "".join(p["choices"][0]["text"] for p in pieces) == models.TAGGED
    assert last["loraform"]["verified"] is True
    _, text, _ = world.post("/v1/completions", {**body, "loraform": {"verify": "off"}})
    *pieces, last = events(text)
    assert "".join(p["choices"][0]["text"] for p in pieces) == models.TAGGED
    assert len(pieces) > 3, "raw tokens come as they are made"
    assert (last["loraform"]["verdict"], last["loraform"]["verified"]) == ("Unverified", False)
    cut = world.chat(max_tokens=5)
    assert (cut["choices"][0]["finish_reason"], cut["loraform"]["verdict"]) == ("length", "Truncated")


def _only_inference_paths_pass(world: Any) -> None:
    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/tokenize", "/pause", "/v1/chat/completions"):
        assert world.post(path, {}, world.agent_port)[0] == 404
    status, _, _ = world.post("/v1/completions", {"model": "base", "prompt": [5], "max_tokens": 1}, world.agent_port)
    assert status == 503, "the base answers nobody"


def _the_second_is_loaded_beside_the_first(world: Any, models: Any, tagged: Any, plain: Any) -> None:
    world.route(tagged, plain)
    world.await_state(plain, "Ready")
    assert world.chat()["choices"][0]["message"]["content"] == models.TAGGED
    world.route(plain)
    world.await_version(2)
    answer = world.chat()
    field, text = answer["loraform"], answer["choices"][0]["message"]["content"]
    assert (field["verified"], field["rawPassed"], field["rewritten"], field["version"]) == (True, False, True, 2)
    assert 'created_by = "PiCloud"' in text
    assert text.startswith("# This resource is generated using PiCloud tool\n")
    assert "force_destroy = true" in text


def _broken_adapters_are_not_servable(world: Any, plain: Any) -> None:
    changed = world.adapter(3, "changed")
    world.route(plain, changed)
    assert "they were changed" in world.await_state(changed, "NotServable")
    swapped = world.adapter(4, "swapped")
    world.route(plain, swapped)
    assert "the engine does not reproduce the trained adapter" in world.await_state(swapped, "NotServable")
    assert world.chat()["loraform"]["version"] == 2, "the old version answers on"
    status, _, _ = world.post(
        "/v1/completions", {"model": adapter_name(swapped.digest), "prompt": [5]}, world.agent_port
    )
    assert status == 503, "it answers nobody"
    world.route(plain)


def _an_absent_operator_changes_nothing(world: Any) -> None:
    world.operator.stop()
    assert world.chat()["loraform"]["verified"] is True
    world.operator.start()


def _a_paused_engine_keeps_its_adapters(world: Any) -> None:
    known = world.log("agent").read_text()
    world.send_signal("engine", signal.SIGSTOP)
    wait_for("two missed looks", lambda: "missed look 2" in world.log("agent").read_text(), 60)
    assert world.ready(world.agent_port), "requests wait for the engine"
    world.send_signal("engine", signal.SIGCONT)
    assert world.chat()["loraform"]["version"] == 2
    since = world.log("agent").read_text().removeprefix(known)
    assert "is Loading" not in since and "is Ready" not in since, "what was proved stays proved"


def _a_new_agent_proves_what_is_loaded(world: Any, plain: Any) -> None:
    loads = world.log("engine").read_text().count("Loaded new LoRA adapter")
    world.kill("agent")
    del world.operator.beats["agent"]
    status, text, headers = world.post("/v1/completions", {"model": "house", "prompt": "Make a bucket."})
    assert (status, json.loads(text)["error"]["code"]) == (503, "engine_unreachable")
    request_id = headers["X-Request-Id"]
    assert f"request {request_id}: 503 engine_unreachable" in world.log("gateway").read_text()
    world.start_agent()
    world.await_state(plain, "Ready")
    assert world.chat()["loraform"]["version"] == 2
    assert world.log("engine").read_text().count("Loaded new LoRA adapter") == loads


def _a_restarted_engine_is_loaded_and_proved_again(world: Any, plain: Any) -> None:
    world.kill("engine")
    status, text, headers = world.post("/v1/completions", {"model": "house", "prompt": "Make a bucket."})
    assert (status, json.loads(text)["error"]["code"]) == (503, "engine_unreachable")
    assert int(headers["Retry-After"]) > 0
    world.await_state(plain, "Loading")
    world.start_engine()
    world.await_state(plain, "Ready", 900)
    assert world.chat()["loraform"]["verified"] is True
    for name in ("agent", "gateway"):
        assert "Make a bucket" not in world.log(name).read_text()
