"""A base's tokenizer reads user text as text, whatever its file flags or sets."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, processors

from loraform_engine.tokenizer import TextEncoder, prefix_ids, read_tokenizer, with_control_tokens

from ...tokenizers_of_bases import INDENT, KINDS, UNFLAGGED, byte_level, metaspace, truncating

ENCODERS = {name: read_tokenizer(make().to_str()) for name, make in KINDS.items()}
CONTROL = ["<|pad|>", "<|end|>", "<s>", "</s>", *UNFLAGGED]
PIECES = st.lists(st.sampled_from([*CONTROL, *"</s> |\n\u00e9a", INDENT]), max_size=20).map("".join)
each_kind = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


def test_truncation_and_padding_of_the_file_are_off() -> None:
    text = "Create an S3 bucket. " * 50
    assert len(truncating().encode(text).ids) == 160 + 40
    ids = read_tokenizer(truncating().to_str()).ids(text)
    assert ids == byte_level().encode(text).ids
    assert len(ids) > 160
    read = read_tokenizer(truncating().to_str()).tokenizer
    assert (read.truncation, read.padding) == (None, None)


def test_other_threads_run_while_a_text_is_encoded() -> None:
    """A gateway tokenises beside its event loop; a call that kept the interpreter would stop the loop all the same."""
    encoder, text = read_tokenizer(byte_level().to_str()), "Create an S3 bucket. " * 20_000
    span: list[float] = []

    def encode() -> None:
        span.append(time.perf_counter())
        encoder.ids(text)
        span.append(time.perf_counter())

    thread, seen = threading.Thread(target=encode), []
    thread.start()
    while thread.is_alive():
        seen.append(time.perf_counter())
    began, ended = span
    middle = (began + (ended - began) / 4, ended - (ended - began) / 4)
    assert any(middle[0] < moment < middle[1] for moment in seen)


@each_kind
@pytest.mark.parametrize("control", CONTROL)
def test_user_text_never_becomes_a_control_token(encoder: TextEncoder, control: str) -> None:
    for text in (control, f"say {control} now", f"x{control}{control}y", f"{control} </s"):
        assert encoder.control.isdisjoint(encoder.ids(text)), text
        assert encoder.batch([text, "a"]) == [encoder.ids(text), encoder.ids("a")]


def test_the_unguarded_tokenizers_write_control_tokens() -> None:
    """What the guards are for: without them these texts hold control tokens."""
    for make, text in ((byte_level, "a <|user|>"), (metaspace, "a </s>"), (metaspace, "a \uff1c/s\uff1e")):
        tokenizer = make()
        tokenizer.encode_special_tokens = True
        encoder = read_tokenizer(make().to_str())
        assert not encoder.control.isdisjoint(tokenizer.encode(text, add_special_tokens=False).ids)
        assert encoder.control.isdisjoint(encoder.ids(text))


def test_a_control_token_of_the_model_is_cut_into_its_characters() -> None:
    encoder = ENCODERS["metaspace"]
    assert encoder.tokenizer.decode(encoder.ids("say </s> now")).replace(" ", "") == "say</s>now"


@each_kind
@given(text=PIECES)
def test_no_mixture_of_pieces_becomes_a_control_token(encoder: TextEncoder, text: str) -> None:
    assert encoder.control.isdisjoint(encoder.ids(text))
    assert encoder.batch([text]) == [encoder.ids(text)]


def test_words_and_white_space_that_the_file_adds_stay_tokens() -> None:
    encoder = ENCODERS["byte-level"]
    assert encoder.tokenizer.token_to_id(INDENT) in encoder.ids(f"a\n{INDENT}b")


def test_runs_of_spaces_that_sentencepiece_marks_stay_tokens() -> None:
    """As Gemma has them: added without a flag, and found by the model, which reads a space as U+2581."""
    model = models.BPE(vocab={"<unk>": 0, "\u2581": 1, "a": 2, "\u2581\u2581": 3}, merges=[("\u2581", "\u2581")])
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.add_tokens([AddedToken("\u2581\u2581", special=False, normalized=False)])
    assert read_tokenizer(tokenizer.to_str()).ids("a  a") == [2, 3, 2]


def test_a_character_that_the_file_adds_without_a_flag_stays_text() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("~", special=False)])
    encoder = read_tokenizer(tokenizer.to_str())
    assert encoder.tokenizer.decode(encoder.ids("a ~> 1")) == "a ~> 1"


def test_bytes_that_the_file_flags_as_special_are_kept() -> None:
    vocabulary = {"<unk>": 0, "a": 1, "<0x0A>": 2}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.add_special_tokens(["<0x0A>"])
    encoder = read_tokenizer(tokenizer.to_str())
    assert encoder.ids("a\na") == [1, 2, 1]
    assert 2 not in encoder.ids("<0x0A>")


def test_unknown_characters_are_no_control_token() -> None:
    encoder = ENCODERS["metaspace"]
    assert encoder.tokenizer.token_to_id("<unk>") in encoder.ids("a \u4e2d b")


def test_a_control_token_of_one_character_is_left_out() -> None:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("\u25a0", -1.0)], 0, False))
    tokenizer.add_special_tokens(["\u25a0"])
    assert read_tokenizer(tokenizer.to_str()).ids("a\u25a0a") == [1, 1]


def test_dropout_of_the_file_is_off() -> None:
    model = models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")], dropout=0.5)
    encoder = read_tokenizer(Tokenizer(model).to_str())
    assert {tuple(encoder.ids("abab" * 5)) for _ in range(20)} == {(2,) * 10}


def test_control_tokens_are_found_in_text_that_is_not_a_users() -> None:
    tokenizer = with_control_tokens(ENCODERS["byte-level"])
    assert tokenizer.encode("<|user|>", add_special_tokens=False).tokens == ["<|user|>"]
    assert ENCODERS["byte-level"].control.isdisjoint(ENCODERS["byte-level"].ids("<|user|>"))


@pytest.mark.parametrize(
    ("template", "prefix"),
    [("[gMASK] <sop> $A", (0, 1)), ("<sop> $A", (1,)), ("$A <sop>", ()), ("[gMASK] $A <sop>", (0,)), ("$A", ())],
)
def test_all_tokens_that_begin_a_text_are_its_prefix(template: str, prefix: tuple[int, ...]) -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"[gMASK]": 0, "<sop>": 1, "a": 2}, merges=[]))
    tokenizer.add_special_tokens(["[gMASK]", "<sop>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[gMASK]", 0), ("<sop>", 1)]
    )
    assert prefix_ids(tokenizer) == prefix


def test_ids_do_not_move_when_tokens_are_flagged() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<|late|>", special=False)])
    ids = {t.content: i for i, t in tokenizer.get_added_tokens_decoder().items()}
    read = read_tokenizer(tokenizer.to_str()).tokenizer
    assert {t.content: i for i, t in read.get_added_tokens_decoder().items()} == ids
