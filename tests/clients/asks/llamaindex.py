"""LlamaIndex's OpenAILike."""

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
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike


def model(**fields: object) -> OpenAILike:
    where = {"model": MODEL, "api_base": URL, "api_key": KEY, "is_chat_model": True, "max_retries": 0}
    return OpenAILike(**{**where, **fields})


def messages(plain: list[dict[str, str]]) -> list[ChatMessage]:
    return [ChatMessage(role=message["role"], content=message["content"]) for message in plain]


def ask(plain: list[dict[str, str]], **fields: object) -> str:
    return answered(model(**fields).chat(messages(plain)).message.content)


async def ask_async() -> str:
    return answered((await model().achat(messages(user("async")))).message.content)


def several() -> str:
    answer = model(temperature=0.7, additional_kwargs={"n": 2}).chat(messages(user("n")))
    return choices([choice.message.content for choice in answer.raw.choices])


report(
    {
        "chat": lambda: ask(user("chat")),
        "system": lambda: ask(with_system()),
        "turns": lambda: ask(TURNS),
        "stream": lambda: streamed([p.delta for p in model().stream_chat(messages(user("stream"))) if p.delta], None),
        "async": ask_async,
        "stop": lambda: ask(user("stop"), additional_kwargs={"stop": STOP}),
        "n": several,
        "wrong key": lambda: raised(openai.AuthenticationError, lambda: ask(user("wrong key"), api_key=WRONG_KEY)),
        "cancelled": lambda: raised(openai.APITimeoutError, lambda: ask(user("cancelled"), timeout=PATIENCE_SECONDS)),
    }
)
