"""The base model's `tokenizer.json`, read so that user text is never a control token, and never cut or padded."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from tokenizers import AddedToken, Encoding, Tokenizer

_TEXT_TOKEN = re.compile(r"[\w\s\u2581]+|.", re.DOTALL)
"""Added tokens that are text unless they are flagged special: words, single characters, and runs of white space (which
SentencePiece writes as U+2581), which some bases have for indentation. Anything else is markup (`<|im_start|>`,
`[INST]`), flagged or not."""
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
"""A byte of a character that the vocabulary lacks."""


@dataclass(frozen=True)
class TextEncoder:
    """Encodes user text."""

    tokenizer: Tokenizer
    control: frozenset[int]
    """Ids that user text never gets."""

    def ids(self, text: str) -> list[int]:
        """Return the ids of user text, without prefix or end. Other threads run meanwhile."""
        (encoding,) = self.tokenizer.encode_batch([text], add_special_tokens=False)  # `encode` keeps the interpreter
        return encoding.ids if self.control.isdisjoint(encoding.ids) else self._ids_of_pieces(text, encoding)

    def batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return `ids` of each text; faster than one after the other."""
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [
            encoding.ids if self.control.isdisjoint(encoding.ids) else self.ids(text)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _ids_of_pieces(self, text: str, encoding: Encoding) -> list[int]:
        """Return the ids of `text` cut inside each control token that the model itself found, as Unigram finds `</s>`.

        A single character that is a control token has no inside; it is left out.
        """
        spans = [span for id_, span in zip(encoding.ids, encoding.offsets, strict=True) if id_ in self.control]
        cuts = sorted({start + 1 for start, end in spans if end - start > 1})
        if not cuts:
            return [id_ for id_ in encoding.ids if id_ not in self.control]
        return [id_ for start, end in pairwise([0, *cuts, len(text)]) for id_ in self.ids(text[start:end])]


def read_tokenizer(content: str) -> TextEncoder:
    """Return the encoder of a `tokenizer.json`; raises plain Exception, as `tokenizers` does, for an invalid one."""
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if getattr(tokenizer.model, "dropout", None):  # a setting of training, which draws other ids each time
        tokenizer.model.dropout = None
    control = {id_: token for id_, token in tokenizer.get_added_tokens_decoder().items() if _is_control(token)}
    tokenizer.add_special_tokens([_flagged(token) for token in control.values()])
    tokenizer.encode_special_tokens = True  # what is flagged special is text from now on
    unknown = _unknown(tokenizer, json.loads(content)["model"])
    harmless = {id_ for id_, token in control.items() if id_ == unknown or _BYTE_TOKEN.fullmatch(token.content)}
    return TextEncoder(tokenizer, frozenset(control) - harmless)


def prefix_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the ids that begin every text, such as `<s>` or `[gMASK]<sop>`: those that the tokenizer itself adds.

    A `bos_token_id` in config.json does not mean that the base was trained with it.
    """
    encoding = tokenizer.encode("a", add_special_tokens=True)
    added = takewhile(lambda pair: pair[1], zip(encoding.ids, encoding.special_tokens_mask, strict=True))
    return tuple(id_ for id_, _ in added)


def with_control_tokens(encoder: TextEncoder) -> Tokenizer:
    """Return a tokenizer that finds control tokens in its text, for text that is not a user's."""
    tokenizer = Tokenizer.from_str(encoder.tokenizer.to_str())
    tokenizer.encode_special_tokens = False
    return tokenizer


def _is_control(token: AddedToken) -> bool:
    return token.special or not _TEXT_TOKEN.fullmatch(token.content)


def _flagged(token: AddedToken) -> AddedToken:
    return AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=True,
    )


def _unknown(tokenizer: Tokenizer, model: dict[str, object]) -> int | None:
    """Return the id of what the vocabulary lacks: any text may hold that, as it may hold bytes."""
    id_, token = model.get("unk_id"), model.get("unk_token")
    if isinstance(id_, int):
        return id_
    return tokenizer.token_to_id(token) if isinstance(token, str) else None
