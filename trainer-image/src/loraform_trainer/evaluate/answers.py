"""Generated answers, and their journal, from which a later attempt of the stage goes on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedAnswer:
    """An answer of the engine."""

    text: str
    truncated: bool
    """True if the answer reached the token limit before an end of text."""
    tokens: int = 0
    """Tokens of prompt and answer together."""


@dataclass(frozen=True)
class EngineIdentity:
    """What decides an answer beside its request, as far as the engine tells it."""

    version: str
    max_length: int


def answer_key(engine: EngineIdentity, digest: str | None, body: Mapping[str, Any]) -> str:
    """Return the key of the answer to the request `body`; `digest` is of the model's adapter, None for the base."""
    parts = json.dumps([asdict(engine), digest, body], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


class AnswerJournal:
    """Answers by key, in a file to which each is appended as it comes.

    A killed process loses only the answers in flight. The line that it was writing is dropped.
    """

    def __init__(self, path: Path) -> None:
        """Read the answers of earlier attempts; raises OSError."""
        self._path = path
        self._answers = _read(path)
        if self._answers:
            log.info("%d answers of earlier attempts are used again", len(self._answers))

    def get(self, key: str) -> GeneratedAnswer | None:
        """Return the answer with this key."""
        return self._answers.get(key)

    def add(self, key: str, answer: GeneratedAnswer) -> None:
        """Keep an answer; raises OSError."""
        self._answers[key] = answer
        with self._path.open("ab") as file:
            file.write(json.dumps({"key": key, **asdict(answer)}).encode() + b"\n")


def _read(path: Path) -> dict[str, GeneratedAnswer]:
    """Return the complete lines of a journal, and cut off an incomplete last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.is_file() else b""
    complete = content[: content.rfind(b"\n") + 1]
    if complete != content:
        with path.open("r+b") as file:
            file.truncate(len(complete))
    answers = {}
    for line in complete.splitlines():
        try:
            fields = json.loads(line)
            key = fields.pop("key")
            answers[key] = GeneratedAnswer(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):  # a lost disk block
            log.warning("%s has an unreadable line, whose answer is generated again", path.name)
    return answers
