"""The openai package for Python: chat completions."""

from __future__ import annotations

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

client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)


def ask(messages: list, **fields: object) -> str:
    return answered(client.chat.completions.create(model=MODEL, messages=messages, **fields).choices[0].message.content)


def stream() -> str:
    pieces, tokens = [], 0
    asked = client.chat.completions.create(
        model=MODEL, messages=user("stream"), stream=True, stream_options={"include_usage": True}
    )
    for chunk in asked:
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
    return streamed(pieces, tokens)


async def ask_async() -> str:
    async with openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0) as asynchronous:
        answer = await asynchronous.chat.completions.create(model=MODEL, messages=user("async"))
    return answered(answer.choices[0].message.content)


def several() -> str:
    answer = client.chat.completions.create(model=MODEL, messages=user("n"), n=2, temperature=0.7)
    return choices([choice.message.content for choice in answer.choices])


report(
    {
        "list": lambda: "listed" if [m.id for m in client.models.list()] == [MODEL] else "failed",
        "retrieve": lambda: "found" if client.models.retrieve(MODEL).created > 0 else "failed",
        "chat": lambda: ask(user("chat")),
        "system": lambda: ask(with_system()),
        "turns": lambda: ask(TURNS),
        "stream": stream,
        "async": ask_async,
        "stop": lambda: ask(user("stop"), stop=STOP),
        "n": several,
        "wrong key": lambda: raised(
            openai.AuthenticationError,
            lambda: client.with_options(api_key=WRONG_KEY).chat.completions.create(
                model=MODEL, messages=user("wrong key")
            ),
        ),
        "cancelled": lambda: raised(
            openai.APITimeoutError,
            lambda: client.with_options(timeout=PATIENCE_SECONDS).chat.completions.create(
                model=MODEL, messages=user("cancelled")
            ),
        ),
    }
)
