"""The base model's own chat template, for the arm that says what the base can do without training.

The template is rendered once, around a mark, and user text takes the mark's place: it never meets the template. Where
it spells a special token it is tokenised apart from the template's text, so that it stays text.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from loraform_trainer.runtime.model_files import CHAT_TEMPLATE, TOKENIZER_CONFIG

log = logging.getLogger(__name__)

MARK = "LORAFORM-USER-TEXT-3f8a"
CHILD_SECONDS = 120
MOST_CHARACTERS = 100_000
"""Longest frame around the user's text."""
ASK = "Answer with the Terraform program alone."
_FENCE = re.compile(r"^[ \t]*```[\w-]*[ \t]*\n(?P<body>.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)


class UnusableTemplateError(ValueError):
    """A chat template that does not render, or not to a prompt with the user's text in it."""


@dataclass(frozen=True)
class Chat:
    """The frame that a base model's template puts around one user message."""

    tokenizer: Tokenizer
    """Recognises special tokens."""
    plain: Tokenizer
    """Takes them for text."""
    before: str
    after: str
    stops: tuple[int, ...]
    """Tokens at which the model ends an answer."""

    def prompt(self, instruction: str, input_text: str) -> list[int]:
        """Return the token ids of a prompt."""
        parts = [instruction.strip(), *([input_text.strip()] if input_text.strip() else []), ASK]
        text = "\n\n".join(parts)
        if not any(token.content in text for token in self.tokenizer.get_added_tokens_decoder().values()):
            return _ids(self.tokenizer, self.before + text + self.after)
        return [
            *_ids(self.tokenizer, self.before),
            *_ids(self.plain, text),
            *_ids(self.tokenizer, self.after),
        ]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def program_in(answer: str) -> str:
    """Return the program in a chat model's answer: its longest fenced block, else the text itself."""
    blocks = [match["body"] for match in _FENCE.finditer(answer)]
    return max(blocks, key=len, default=answer)


def read(base: Path, plain: Tokenizer) -> Chat | None:
    """Return the chat of a base model's folder; None, with a warning, where its template is absent or does not work.

    `plain` is the tokenizer that takes special tokens for text.
    """
    config = _json(base / TOKENIZER_CONFIG)
    template = _template(base, config)
    if template is None:
        return None
    variables = {name: _token(value) for name, value in config.items() if name.endswith("_token")}
    try:
        before, after = _frame({"template": template, "variables": variables, "text": MARK})
    except UnusableTemplateError as error:
        log.warning("the base's chat template cannot be used, so the base is asked as the candidate is: %s", error)
        return None
    tokenizer = Tokenizer.from_str(plain.to_str())
    tokenizer.encode_special_tokens = False
    return Chat(tokenizer, plain, before, after, _stops(base))


def _frame(asked: dict[str, Any]) -> tuple[str, str]:
    """Return what a template puts before and after the text; raises UnusableTemplateError."""
    command = [sys.executable, "-m", "loraform_trainer.evaluate.chat_child"]
    try:
        done = subprocess.run(
            command, input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=CHILD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise UnusableTemplateError(f"it was not rendered within {CHILD_SECONDS} s") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise UnusableTemplateError(last[0][:300])
    before, mark, after = done.stdout.partition(MARK)
    if not mark or MARK in after or len(done.stdout) > MOST_CHARACTERS:
        raise UnusableTemplateError("the user's text does not stand in the prompt, once and as it is")
    return before, after


def _template(base: Path, config: dict[str, Any]) -> str | None:
    if (base / CHAT_TEMPLATE).is_file():
        return (base / CHAT_TEMPLATE).read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):  # several, by name
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _token(value: Any) -> str | None:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _stops(base: Path) -> tuple[int, ...]:
    """Return the ends of text of a base: instruct models name their end of turn in generation_config.json."""
    found: dict[int, None] = {}
    for name in ("config.json", "generation_config.json"):
        value = _json(base / name).get("eos_token_id")
        ids = value if isinstance(value, list) else [value]
        found |= {one: None for one in ids if isinstance(one, int)}
    return tuple(found)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}
