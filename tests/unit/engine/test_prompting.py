"""The prompter of a base's folder: prefix, end tokens, and a digest of what comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from loraform_engine.prompting import PROGRAM, BaseModelUnreadable, Prompter, load_prompter
from loraform_engine.tokenizer import TextEncoder

from ...tokenizers_of_bases import KINDS, byte_level, metaspace, truncating, write_base


@pytest.fixture(params=KINDS)
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_base(tmp_path / "base", KINDS[request.param]())


def raw(base: Path) -> Tokenizer:
    """Return the tokenizer as its file has it."""
    return Tokenizer.from_file(str(base / "tokenizer.json"))


def with_special_off(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.encode_special_tokens = True
    return tokenizer


def without_settings(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return with_special_off(tokenizer)


def cut(tokenizer: Tokenizer, length: int) -> Tokenizer:
    tokenizer.enable_truncation(length)
    return tokenizer


def test_input_stands_in_the_prompt(base: Path) -> None:
    prompter = load_prompter(base)
    assert prompter.tokens("a", "variable x") != prompter.tokens("a")
    assert prompter.tokens("a", "  ") == prompter.tokens("a")


def test_a_long_prompt_has_every_token(base: Path) -> None:
    assert len(load_prompter(base).tokens("a", PROGRAM)) > 3000


READERS: dict[str, tuple[Callable[[], Tokenizer], Callable[[Prompter, Tokenizer], Prompter]]] = {
    "one that cuts and pads": (
        truncating, lambda now, raw: replace(now, encoder=TextEncoder(with_special_off(raw), frozenset())),
    ),
    "one that cuts long texts": (
        byte_level,
        lambda now, _: replace(now, encoder=replace(now.encoder, tokenizer=cut(now.encoder.tokenizer, 2500))),
    ),
    "one that finds tokens flagged special": (
        byte_level, lambda now, raw: replace(now, encoder=TextEncoder(raw, frozenset())),
    ),
    "one that finds tokens not flagged special": (
        byte_level, lambda now, raw: replace(now, encoder=TextEncoder(without_settings(raw), frozenset())),
    ),
    "one that lets Unigram find its end token": (
        metaspace, lambda now, _: replace(now, encoder=replace(now.encoder, control=frozenset())),
    ),
    "one without a prefix": (metaspace, lambda now, _: replace(now, prefix=())),
    "one with a part of the prefix": (metaspace, lambda now, _: replace(now, prefix=now.prefix[:1])),
    "one with a part of the end tokens": (metaspace, lambda now, _: replace(now, ends=now.ends[:1])),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_two_readers_of_one_file_that_differ_have_two_hashes(tmp_path: Path, reader: str) -> None:
    make, differently = READERS[reader]
    tokenizer = make()
    if make is metaspace:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> </s> $A", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    base = write_base(tmp_path, tokenizer, generation_config={"eos_token_id": [1, 0]})
    now = load_prompter(base)
    other = differently(load_prompter(base), raw(base))
    assert other.tokenizer_sha256 == now.tokenizer_sha256
    assert other.template_hash != now.template_hash
    assert load_prompter(base).template_hash == now.template_hash


def test_another_file_has_another_hash(tmp_path: Path) -> None:
    hashes = {load_prompter(write_base(tmp_path / name, make())).template_hash for name, make in KINDS.items()}
    assert len(hashes) == len(KINDS)


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({"config": {"eos_token_id": 1}}, (1,)),
        ({"config": {"eos_token_id": [5, 6, 5]}}, (5, 6)),
        ({"config": {"text_config": {"eos_token_id": 7}}}, (7,)),
        ({"config": {}, "generation_config": {"eos_token_id": [8, 9]}}, (8, 9)),
        ({"config": {}, "tokenizer_config": {"eos_token": "<|end|>"}}, (1,)),
        ({"config": {"eos_token_id": None}, "tokenizer_config": {"eos_token": {"content": "<|end|>"}}}, (1,)),
        ({"config": {"eos_token_id": [5, 1]}, "tokenizer_config": {"eos_token": "<|end|>"}}, (1, 5)),
        ({"config": {"eos_token_id": 5}, "tokenizer_config": {"eos_token": "<|absent|>"}}, (5,)),
        (
            {
                "config": {"eos_token_id": 5, "text_config": {"eos_token_id": [6]}},
                "generation_config": {"eos_token_id": [7, 5, -1, True]},
            },
            (5, 6, 7),
        ),
    ],
)
def test_every_end_token_of_a_base_is_read(tmp_path: Path, files: dict[str, Any], ends: tuple[int, ...]) -> None:
    prompter = load_prompter(write_base(tmp_path, byte_level(), **files))
    assert prompter.ends == ends
    assert prompter.response("x")[-1] == ends[0]


def test_a_prefix_of_two_tokens_stands_before_each_prompt(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["[gMASK]", "<sop>"])
    first, second = (tokenizer.token_to_id(token) for token in ("[gMASK]", "<sop>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[gMASK] <sop> $A", special_tokens=[("[gMASK]", first), ("<sop>", second)]
    )
    ids = load_prompter(write_base(tmp_path, tokenizer)).tokens("Say [gMASK]<sop>")
    assert ids[:2] == [first, second]
    assert not {first, second} & set(ids[2:])


def test_an_end_token_that_the_file_does_not_add_is_no_user_text(tmp_path: Path) -> None:
    content = json.loads(metaspace().to_str())
    content["added_tokens"], content["post_processor"] = [], None
    prompter = load_prompter(write_base(tmp_path, Tokenizer.from_str(json.dumps(content))))
    assert 1 not in prompter.tokens("say </s> now")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "tokenizer.json of the base model cannot be read: Exception: "),
        ("config.json", "{", "config.json of the base model is not JSON: "),
        ("generation_config.json", "[]", "generation_config.json of the base model is not a JSON object"),
        ("config.json", "{}", "the base model has no end token: give `eos_token_id` in config.json or "),
    ],
)
def test_an_unreadable_base_names_its_file(tmp_path: Path, name: str, content: str, message: str) -> None:
    (write_base(tmp_path, byte_level()) / name).write_text(content)
    with pytest.raises(BaseModelUnreadable, match=message):
        load_prompter(tmp_path)


def test_a_missing_tokenizer_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_prompter(tmp_path)
