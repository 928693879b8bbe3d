"""instructor: its plain calls, and what it asks for in its modes for structured answers."""

from __future__ import annotations

import instructor
import openai
from asking import (
    KEY,
    MODEL,
    PATIENCE_SECONDS,
    STOP,
    TURNS,
    URL,
    WRONG_KEY,
    answered,
    choices,
    raised,
    report,
    streamed,
    user,
    with_system,
)
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel


class Bucket(BaseModel):
    name: str


def client(mode: instructor.Mode = instructor.Mode.TOOLS, **fields: object) -> instructor.Instructor:
    where = {"base_url": URL, "api_key": KEY, "max_retries": 0}
    return instructor.from_openai(openai.OpenAI(**{**where, **fields}), mode=mode)


def complete(messages: list, **fields: object) -> openai.types.chat.ChatCompletion:
    return client().create(response_model=None, model=MODEL, messages=messages, **fields)


def ask(messages: list, **fields: object) -> str:
    return answered(complete(messages, **fields).choices[0].message.content)


def stream() -> str:
    chunks = complete(user("stream"), stream=True, stream_options={"include_usage": True})
    pieces, tokens = [], 0
    for chunk in chunks:
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
    return streamed(pieces, tokens)


async def ask_async() -> str:
    asynchronous = instructor.from_openai(openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0))
    answer = await asynchronous.create(response_model=None, model=MODEL, messages=user("async"))
    return answered(answer.choices[0].message.content)


def refused(mode: instructor.Mode) -> str:
    """Return which field of the mode's request is refused."""
    try:
        client(mode).create(response_model=Bucket, model=MODEL, messages=user("chat"), max_retries=0)
    except (openai.BadRequestError, InstructorRetryException) as error:
        while not isinstance(error, openai.BadRequestError) and error.__cause__:
            error = error.__cause__
        return f"refused: {error.param}" if isinstance(error, openai.BadRequestError) else f"failed: {error!r}"
    return "failed: no error"


def plain(column: str, **fields: object) -> object:
    return client(**fields).create(response_model=None, model=MODEL, messages=user(column))


report(
    {
        "chat": lambda: ask(user("chat")),
        "system": lambda: ask(with_system()),
        "turns": lambda: ask(TURNS),
        "stream": stream,
        "async": ask_async,
        "stop": lambda: ask(user("stop"), stop=STOP),
        "n": lambda: choices([c.message.content for c in complete(user("n"), n=2, temperature=0.7).choices]),
        "wrong key": lambda: raised(openai.AuthenticationError, lambda: plain("wrong key", api_key=WRONG_KEY)),
        "cancelled": lambda: raised(openai.APITimeoutError, lambda: plain("cancelled", timeout=PATIENCE_SECONDS)),
        "tools mode": lambda: refused(instructor.Mode.TOOLS),
        "JSON mode": lambda: refused(instructor.Mode.JSON),
    }
)
