"""LiteLLM with its provider for OpenAI-compatible servers."""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network for prices

import litellm
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

WHERE = {"model": f"openai/{MODEL}", "api_base": URL, "api_key": KEY, "max_retries": 0}


def complete(column: str, **fields: object) -> litellm.ModelResponse:
    return litellm.completion(**{**WHERE, "messages": user(column), **fields})


def ask(column: str, **fields: object) -> str:
    return answered(complete(column, **fields).choices[0].message.content)


def models() -> str:
    found = litellm.get_valid_models(
        check_provider_endpoint=True, custom_llm_provider="openai", api_key=KEY, api_base=URL.removesuffix("/v1")
    )
    return "listed" if [name.removeprefix("openai/") for name in found] == [MODEL] else f"failed: {found[:3]}"


def stream() -> str:
    pieces, tokens = [], 0
    for chunk in complete("stream", stream=True, stream_options={"include_usage": True}):
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        tokens = chunk.usage.total_tokens if getattr(chunk, "usage", None) else tokens
    return streamed(pieces, tokens)


async def ask_async() -> str:
    return answered((await litellm.acompletion(**WHERE, messages=user("async"))).choices[0].message.content)


report(
    {
        "list": models,
        "chat": lambda: ask("chat"),
        "system": lambda: ask("system", messages=with_system()),
        "turns": lambda: ask("turns", messages=TURNS),
        "stream": stream,
        "async": ask_async,
        "stop": lambda: ask("stop", stop=STOP),
        "n": lambda: choices([c.message.content for c in complete("n", n=2, temperature=0.7).choices]),
        "wrong key": lambda: raised(litellm.AuthenticationError, lambda: complete("wrong key", api_key=WRONG_KEY)),
        "cancelled": lambda: raised(litellm.Timeout, lambda: complete("cancelled", timeout=PATIENCE_SECONDS)),
    }
)
