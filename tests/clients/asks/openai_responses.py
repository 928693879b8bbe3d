"""The openai package for Python: responses."""

from __future__ import annotations

import openai
from asking import (
    KEY,
    MODEL,
    PATIENCE_SECONDS,
    QUESTIONS,
    SYSTEM,
    TURNS,
    URL,
    WRONG_KEY,
    answered,
    raised,
    report,
    streamed,
)

client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)


def ask(column: str, **fields: object) -> str:
    asked = {"input": QUESTIONS[column], **fields}
    return answered(client.responses.create(model=MODEL, **asked).output_text)


def stream() -> str:
    with client.responses.stream(model=MODEL, input=QUESTIONS["stream"]) as events:
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        final = events.get_final_response()
    return streamed(pieces, final.usage.total_tokens) if final.output_text == "".join(pieces) else "failed: final text"


def turns() -> str:
    first = client.responses.create(model=MODEL, input="Create a bucket.")
    again = {"role": "user", "content": QUESTIONS["turns"]}
    return ask("turns", input=[TURNS[0], *(item.model_dump() for item in first.output), again])


async def ask_async() -> str:
    async with openai.AsyncOpenAI(base_url=URL, api_key=KEY, max_retries=0) as asynchronous:
        return answered((await asynchronous.responses.create(model=MODEL, input=QUESTIONS["async"])).output_text)


report(
    {
        "chat": lambda: ask("chat"),
        "system": lambda: ask("system", instructions=SYSTEM),
        "turns": turns,
        "stream": stream,
        "async": ask_async,
        "wrong key": lambda: raised(
            openai.AuthenticationError,
            lambda: client.with_options(api_key=WRONG_KEY).responses.create(model=MODEL, input=QUESTIONS["wrong key"]),
        ),
        "cancelled": lambda: raised(
            openai.APITimeoutError,
            lambda: client.with_options(timeout=PATIENCE_SECONDS).responses.create(
                model=MODEL, input=QUESTIONS["cancelled"]
            ),
        ),
    }
)
