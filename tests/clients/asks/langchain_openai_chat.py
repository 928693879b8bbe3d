"""LangChain's ChatOpenAI."""

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
from langchain_openai import ChatOpenAI


def model(**fields: object) -> ChatOpenAI:
    return ChatOpenAI(**{"model": MODEL, "base_url": URL, "api_key": KEY, "max_retries": 0, **fields})


def stream() -> str:
    pieces, tokens = [], 0
    for chunk in model(stream_usage=True).stream(user("stream")):
        pieces += [chunk.content] if chunk.content else []
        tokens = chunk.usage_metadata["total_tokens"] if chunk.usage_metadata else tokens
    return streamed(pieces, tokens)


def several() -> str:
    from langchain_core.messages import HumanMessage  # noqa: PLC0415  # only here

    (generations,) = model(n=2, temperature=0.7).generate([[HumanMessage(user("n")[0]["content"])]]).generations
    return choices([generation.text for generation in generations])


async def ask_async() -> str:
    return answered((await model().ainvoke(user("async"))).content)


report(
    {
        "chat": lambda: answered(model().invoke(user("chat")).content),
        "system": lambda: answered(model().invoke(with_system()).content),
        "turns": lambda: answered(model().invoke(TURNS).content),
        "stream": stream,
        "async": ask_async,
        "stop": lambda: answered(model().invoke(user("stop"), stop=STOP).content),
        "n": several,
        "wrong key": lambda: raised(
            openai.AuthenticationError, lambda: model(api_key=WRONG_KEY).invoke(user("wrong key"))
        ),
        "cancelled": lambda: raised(
            openai.APITimeoutError, lambda: model(timeout=PATIENCE_SECONDS).invoke(user("cancelled"))
        ),
    }
)
