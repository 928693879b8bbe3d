"""Prompts in the base model's own chat template.

The template is rendered once around a placeholder, which user text replaces afterwards: user text is never rendered,
and never becomes a control token.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from loraform_engine.program import THOUGHT
from loraform_engine.prompting import TOKENIZER_CONFIG_FILE, Prompter, read_json, token_text
from loraform_engine.tokenizer import TextEncoder, with_control_tokens

log = logging.getLogger(__name__)

TEMPLATE_FILE = "chat_template.jinja"
PLACEHOLDER = "LORAFORM-USER-TEXT-3f8a"
RENDER_CPU_SECONDS = 10
RENDER_TIMEOUT_SECONDS = 120
MAX_CHARACTERS = 100_000
"""Maximum length of a rendered prompt with the placeholder."""
ANSWER_FORMAT = "Answer with the Terraform program alone."


class UnusableTemplateError(ValueError):
    """A chat template that does not render, or renders to a prompt without the user's text."""


@dataclass(frozen=True)
class Chat:
    """A base model's chat template, rendered for one user message."""

    tokenizer: Tokenizer
    """Finds control tokens."""
    encoder: TextEncoder
    """Encodes user text."""
    before: str
    """The template's text before the user's message."""
    after: str
    """The template's text after the user's message."""
    ends: tuple[int, ...]
    """Ids that each end an answer."""

    @property
    def opens_thought(self) -> bool:
        """True if the prompt ends with an opened thought, which the answer closes."""
        return self.after.rstrip().endswith(THOUGHT)

    def tokens(self, instruction: str, input_text: str = "") -> list[int]:
        """Return the token ids of a prompt."""
        parts = [instruction.strip(), *([input_text.strip()] if input_text.strip() else []), ANSWER_FORMAT]
        text = "\n\n".join(parts)
        encoding = self.tokenizer.encode(self.before + text + self.after, add_special_tokens=False)
        first, last = len(self.before), len(self.before) + len(text)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        if not any(id_ in self.encoder.control and start < last and end > first for id_, (start, end) in spans):
            return encoding.ids
        return [*self._ids(self.before), *self.encoder.ids(text), *self._ids(self.after)]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def read(base: Path, prompter: Prompter, cpu_seconds: int = RENDER_CPU_SECONDS) -> Chat | None:
    """Return the chat template of a base model's folder; None if it has none, or (with a warning) an unusable one.

    `cpu_seconds` limit the rendering. Raises BaseModelUnreadable and OSError.
    """
    config = read_json(base / TOKENIZER_CONFIG_FILE)
    template = _template(base, config)
    if template is None:
        return None
    names = [name for name in config if name.endswith("_token")]
    variables = {name: text for name in names if (text := token_text(config[name])) is not None}
    try:
        before, after = _render(
            {"template": template, "variables": variables, "text": PLACEHOLDER, "cpu_seconds": cpu_seconds}
        )
    except UnusableTemplateError as error:
        log.warning("the base's chat template is unusable; the base gets the candidate's prompt: %s", error)
        return None
    return Chat(with_control_tokens(prompter.encoder), prompter.encoder, before, after, prompter.ends)


def _render(request: dict[str, Any]) -> tuple[str, str]:
    """Return a template's text before and after the placeholder; raises UnusableTemplateError."""
    command = [sys.executable, "-m", "loraform_engine.chat_child"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            timeout=RENDER_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise UnusableTemplateError(f"it was not rendered within {RENDER_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise UnusableTemplateError(last[0][:300])
    before, placeholder, after = done.stdout.partition(PLACEHOLDER)
    if not placeholder or PLACEHOLDER in after or len(done.stdout) > MAX_CHARACTERS:
        raise UnusableTemplateError("the rendered prompt does not contain the user's text exactly once and unchanged")
    return before, after


def _template(base: Path, config: dict[str, Any]) -> str | None:
    if (base / TEMPLATE_FILE).is_file():
        return (base / TEMPLATE_FILE).read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several templates by name
        by_name = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = by_name.get("default")
    return template if isinstance(template, str) else None
