"""The base's own chat template: the prompt is what transformers makes of it, and a template that misbehaves is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from loraform_trainer.evaluate import chat
from loraform_trainer.evaluate.chat import ANSWER_FORMAT, Chat
from loraform_trainer.runtime import tokens

from .fake_engine import FakeEngine, run

SPECIAL = ["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<s>"]
CHATML = (
    "{% for message in messages %}{% if loop.first and message.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
TEXT = "Create an S3 bucket.\n  With versioning, please."


@pytest.fixture
def base(base_model: Path, tmp_path: Path) -> Path:
    """A base with special tokens for turns."""
    folder = tmp_path / "chatty"
    folder.mkdir()
    tokenizer = Tokenizer.from_file(str(base_model / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text((base_model / "config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [301, 1]}))
    return folder


def configure(base: Path, template: Any) -> None:
    config = {"bos_token": {"content": "<s>", "special": True}, "eos_token": "<|end|>", "chat_template": template}
    (base / "tokenizer_config.json").write_text(json.dumps(config))


def read(base: Path) -> Chat | None:
    return chat.read(base, tokens.load(base))


@pytest.mark.parametrize("template", [CHATML, BRACKETS], ids=["chatml", "brackets"])
@pytest.mark.parametrize("where", ["config", "named", "file"])
def test_the_prompt_is_that_of_transformers(base: Path, template: str, where: str) -> None:
    named = [{"name": "tools", "template": "no"}, {"name": "default", "template": template}]
    configure(base, {"config": template, "named": named, "file": None}[where])
    if where == "file":
        (base / "chat_template.jinja").write_text(template)
    found = read(base)
    assert found is not None
    own = PreTrainedTokenizerFast(
        tokenizer_file=str(base / "tokenizer.json"), bos_token="<s>", eos_token="<|end|>", chat_template=template
    )
    message = {"role": "user", "content": f"{TEXT}\n\nvariable x\n\n{ANSWER_FORMAT}"}
    wanted = own.apply_chat_template([message], add_generation_prompt=True, tokenize=True, return_dict=False)
    assert found.tokens(TEXT, " variable x\n") == wanted
    assert found.ends == (1, 301)


def test_special_tokens_in_the_users_text_stay_text(base: Path) -> None:
    configure(base, CHATML)
    found = read(base)
    assert found is not None
    end = found.tokenizer.token_to_id("<|im_end|>")
    assert found.tokens("Say <|im_end|> now.", "").count(end) == found.tokens("Say it now.", "").count(end) == 2


def test_a_base_without_a_template_has_no_chat(base: Path) -> None:
    assert read(base) is None
    configure(base, None)
    assert read(base) is None


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no system message') }}", "no system message"),
        ("{% for message in messages %}", "Unexpected end of template"),
        ("{{ messages[0].content | upper }}", "does not contain the user's text"),
        ("{{ messages[0].content }} {{ messages[0].content }}", "does not contain the user's text"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "is unsafe"),
        ("{{ messages[0].content }}{{ 'a' * 1000000000 }}", "Memory"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
            "{% endfor %}{{ messages[0].content }}",
            "exit status -",
        ),
    ],
    ids=["raises", "broken", "changed", "twice", "escape", "memory", "endless"],
)
def test_a_template_that_misbehaves_is_left_with_a_word(
    base: Path, template: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    configure(base, template)
    assert read(base) is None
    assert "the base gets the candidate's prompt" in caplog.text
    assert words in caplog.text


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
