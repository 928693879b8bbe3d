"""A base's chat template: the prompt is that of transformers, user text stays text, a bad template is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from loraform_engine import chat
from loraform_engine.chat import ANSWER_FORMAT, Chat
from loraform_engine.prompting import load_prompter

from ...tokenizers_of_bases import byte_level, metaspace, write_base
from .chat_templates import ALL, LLAMA, QWEN, THINKING, TOKENS

TEXT = "Create an S3 bucket.\n  With versioning, please."


def base_with(
    folder: Path, template: Any, *, flagged: bool = True, kind: Any = byte_level, file: str | None = None
) -> Path:
    """Write a base with control tokens for turns; `flagged` is whether its file says that they are special."""
    tokenizer = kind()
    tokenizer.add_tokens([AddedToken(token, special=flagged, normalized=False) for token in TOKENS])
    config = {
        "bos_token": {"content": "<|begin|>", "special": True}, "eos_token": "<|end|>", "pad_token": None,
        "add_bos_token": True, "chat_template": template,
    }  # fmt: skip
    write_base(folder, tokenizer, tokenizer_config=config, generation_config={"eos_token_id": [300, 1]})
    if file is not None:
        (folder / "chat_template.jinja").write_text(file)
    return folder


def read(base: Path) -> Chat | None:
    return chat.read(base, load_prompter(base))


def of_transformers(base: Path, template: str, text: str) -> list[int]:
    own = PreTrainedTokenizerFast(
        tokenizer_file=str(base / "tokenizer.json"), bos_token="<|begin|>", eos_token="<|end|>", chat_template=template
    )
    message = {"role": "user", "content": text}
    ids: list[int] = own.apply_chat_template([message], add_generation_prompt=True, tokenize=True, return_dict=False)
    return ids


@pytest.mark.parametrize("flagged", [True, False], ids=["flagged special", "not flagged"])
@pytest.mark.parametrize("kind", [byte_level, metaspace])
@pytest.mark.parametrize("template", ALL.values(), ids=ALL)
def test_the_prompt_is_that_of_transformers(tmp_path: Path, template: str, kind: Any, flagged: bool) -> None:
    base = base_with(tmp_path, template, kind=kind, flagged=flagged)
    text = f"{TEXT}\n\nvariable x\n\n{ANSWER_FORMAT}"
    before = of_transformers(base, template, text)
    found = read(base)
    assert found is not None
    # a template may show the date, and the day may end meanwhile
    assert found.tokens(TEXT, " variable x\n") in (before, of_transformers(base, template, text))
    assert set(found.ends) == {1, 300, found.tokenizer.token_to_id("<|end|>")}


def test_a_template_is_read_where_a_base_has_it(tmp_path: Path) -> None:
    named = [{"name": "tools", "template": "no"}, {"name": "default", "template": QWEN}]
    places = [
        base_with(tmp_path / "config", QWEN),
        base_with(tmp_path / "named", named),
        base_with(tmp_path / "file", "an older one", file=QWEN),
    ]
    prompts = [found.tokens(TEXT) for place in places if (found := read(place))]
    assert prompts == [of_transformers(places[0], QWEN, f"{TEXT}\n\n{ANSWER_FORMAT}")] * 3


@pytest.mark.parametrize("flagged", [True, False], ids=["flagged special", "not flagged"])
@pytest.mark.parametrize("kind", [byte_level, metaspace])
@pytest.mark.parametrize("spelled", [*TOKENS[:3], "</s>", "\uff1c/s\uff1e", "<|user|>", "[TOOL]"])
def test_control_tokens_in_the_users_text_stay_text(tmp_path: Path, kind: Any, flagged: bool, spelled: str) -> None:
    found = read(base_with(tmp_path, LLAMA, kind=kind, flagged=flagged))
    assert found is not None
    control = found.encoder.control

    def controls(text: str) -> list[int]:
        return [id_ for id_ in found.tokens(text) if id_ in control]

    assert controls(f"Say {spelled} now.") == controls(f"{spelled}") == controls("Say it now.") != []


def test_an_opened_thought_is_known(tmp_path: Path) -> None:
    opened, plain = read(base_with(tmp_path / "a", THINKING)), read(base_with(tmp_path / "b", QWEN))
    assert opened is not None
    assert plain is not None
    assert (opened.opens_thought, plain.opens_thought) == (True, False)


@pytest.mark.parametrize("template", [None, [{"name": "tools", "template": "no"}], 7])
def test_a_base_without_a_template_has_no_chat(tmp_path: Path, template: Any) -> None:
    assert read(base_with(tmp_path, template)) is None


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ raise_exception('no system message') }}", "no system message"),
        ("{% for message in messages %}", "Unexpected end of template"),
        ("{{ messages[0].content | upper }}", "does not contain the user's text"),
        ("{{ messages[0].content }} {{ messages[0].content }}", "does not contain the user's text"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "is unsafe"),
        ("{{ messages.append(1) }}{{ messages[0].content }}", "is unsafe"),
        ("{{ messages[0].content }}{{ 'a' * 1000000000 }}", "Memory"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
            "{% endfor %}{{ messages[0].content }}",
            "exit status -",
        ),
    ],
    ids=["raises", "broken", "changed", "twice", "escape", "mutation", "memory", "endless"],
)
def test_a_template_that_misbehaves_is_left_with_a_word(
    tmp_path: Path, template: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    base = base_with(tmp_path, template)
    assert chat.read(base, load_prompter(base), cpu_seconds=1) is None
    assert "the base gets the candidate's prompt" in caplog.text
    assert words in caplog.text
