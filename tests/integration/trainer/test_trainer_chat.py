"""The base's own chat template in stage evaluate, against a fake engine."""

from __future__ import annotations

import json
import shutil
from typing import Any

from loraform_engine.chat import ANSWER_FORMAT

from .conftest import write_adapter
from .fake_engine import PLAIN, FakeEngine, run

CHATML = (
    "{% for message in messages %}{% if loop.first and message.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


async def test_every_end_token_of_the_base_ends_an_answer_of_every_arm(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    (trained.paths.base / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    (trained.paths.base / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 1]}))
    shutil.rmtree(trained.paths.adapter)
    write_adapter(trained, trained.paths.adapter, "adapter")  # trained on the base as it is now
    await run(trained, urls)
    assert [body["stop_token_ids"] for body in engine.requests] == [[1, 5]] * 9


async def test_only_the_base_with_the_policy_is_asked_so(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    (trained.paths.base / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    result = (await run(trained, urls)).evaluate
    assert {arm.name: arm.prompt_template for arm in result.arms} == {
        "Base": None, "BaseWithPolicy": "Chat", "Candidate": None,
    }  # fmt: skip
    asked = [engine.prompt_of(body) for body in engine.requests]
    assert sum(ANSWER_FORMAT in prompt for prompt in asked) == 3
    assert sum("im_start|>assistant" in prompt for prompt in asked) == 3
    assert "chat template, the other arms as in training" in trained.paths.evaluation_page.read_text()


async def test_a_thought_that_the_prompt_opens_is_no_answer_until_it_is_closed(
    trained: Any, engine: FakeEngine, urls: tuple[str, str]
) -> None:
    template = CHATML.replace("assistant\n", "assistant\n<think>\n")
    (trained.paths.base / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    truncated = []
    for around in ("PROGRAM", f"Maybe {PLAIN}</think>\nPROGRAM"):
        engine.around = around
        engine.loaded.clear()  # each run is a pod with an engine of its own, and no attempt goes on from another
        trained.paths.evaluation_answers.unlink(missing_ok=True)
        arms = {arm.name: arm for arm in (await run(trained, urls)).evaluate.arms}
        truncated.append({name: arm.truncated for name, arm in arms.items()})
    assert truncated == [
        {"Base": 1, "BaseWithPolicy": 3, "Candidate": 0}, {"Base": 1, "BaseWithPolicy": 1, "Candidate": 0},
    ]  # fmt: skip
