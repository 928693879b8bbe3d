"""What every client for Python is asked to do, and what it prints: one word a column, as JSON.

    python DRIVER.py ADDRESS KEY EXPECTED

ADDRESS ends with /v1, EXPECTED is the text that the engine writes.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

URL, KEY, EXPECTED = sys.argv[1:4]
MODEL, WRONG_KEY = "house", "not-a-key"
PATIENCE_SECONDS = 2.0
"""After it a client gives up a question that is never answered; until then it must have reached the engine."""
SYSTEM, STOP = "You are terse.", ["\n\n"]
QUESTIONS = {
    name: f"Create a bucket ({name})."
    for name in ("chat", "system", "turns", "stream", "async", "stop", "n", "wrong key", "cancelled")
}
TURNS = [
    {"role": "user", "content": "Create a bucket."},
    {"role": "assistant", "content": 'resource "aws_s3_bucket" "earlier" {\n}\n'},
    {"role": "user", "content": QUESTIONS["turns"]},
]

Ask = Callable[[], str] | Callable[[], Awaitable[str]]


def user(column: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": QUESTIONS[column]}]


def with_system() -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, *user("system")]


def answered(text: Any) -> str:
    return "answered" if text == EXPECTED else f"failed: {text!r}"


def streamed(pieces: list[str], tokens: int | None) -> str:
    """Say whether the pieces are the answer and the usage came with them; clients without usage pass None."""
    if "".join(pieces) != EXPECTED or len(pieces) < 2:
        return f"failed: {pieces!r}"
    return "failed: no usage" if tokens == 0 else "streamed"


def choices(texts: list[Any]) -> str:
    return "2 choices" if texts == [EXPECTED] * 2 else f"failed: {texts!r}"


def raised(kind: type[BaseException], ask: Callable[[], object]) -> str:
    """Return the name of the error that `ask` raises; it must be of `kind`."""
    try:
        return f"failed: no error, but {ask()!r}"
    except kind as error:
        return type(error).__name__


def report(asks: dict[str, Ask]) -> None:
    """Ask everything and print the words; an error that a driver did not expect is a failure."""

    async def word(ask: Ask) -> str:
        try:
            result = ask()
            return await result if inspect.isawaitable(result) else result
        except Exception as error:  # any of a library's own kinds
            return f"failed: {type(error).__name__}: {error}"

    async def words() -> dict[str, str]:
        return {column: await word(ask) for column, ask in asks.items()}

    print(json.dumps(asyncio.run(words())))
