"""What Open WebUI, Continue and aider send, written from their sources; a column that they do not have is absent.

- Open WebUI, github.com/open-webui/open-webui: `generate_chat_completion` in backend/open_webui/routers/openai.py at
  671f577264ed5bed6ec2c7cf97703b450a6ce2ec (what is left of the page's request, `max_completion_tokens` renamed),
  `apply_model_params_to_body_openai` in backend/open_webui/utils/payload.py at
  227ce3f63e9eabf4cbdff5f13be7967a869e0d91 (a model's settings), `generate_title` in
  backend/open_webui/routers/tasks.py at 884bb3f44c64c3d3660b443bd2769b2486cb02bc.
- Continue, github.com/continuedev/continue at d0a3c0b626b5bebc3bef4742eec05a0242be0bab: `toChatBody` in
  core/llm/openaiTypeConverters.ts, `modifyChatBody` and `list` in packages/openai-adapters/src/apis/OpenAI.ts,
  `DEFAULT_MAX_TOKENS` in core/llm/constants.ts.
- aider, github.com/Aider-AI/aider at 5dc9490bb35f9729ef2c95d00a19ccd30c26339c: `send_completion` in aider/models.py,
  `format_chat_chunks` in aider/coders/base_coder.py, `add_cache_control` in aider/coders/chat_chunks.py.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

SYSTEM, STOP, EARLIER = "You are terse.", ["\n\n"], 'resource "aws_s3_bucket" "earlier" {\n}\n'
PATIENCE_SECONDS = 2.0

Message = dict[str, Any]


def _user(column: str) -> Message:
    return {"role": "user", "content": f"Create a bucket ({column})."}


def _turns(column: str) -> list[Message]:
    return [
        {"role": "user", "content": "Create a bucket."},
        {"role": "assistant", "content": EARLIER},
        _user(column),
    ]


class _Caller:
    """One client's requests, each judged as a word of the table."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, expected: str) -> None:
        self._session, self._url, self._key, self._expected = session, url, key, expected

    def _post(self, body: dict[str, Any], key: str | None = None, seconds: float = 30) -> Any:
        headers = {"Authorization": f"Bearer {key or self._key}"}
        limit = aiohttp.ClientTimeout(total=seconds)
        return self._session.post(f"{self._url}/chat/completions", json=body, headers=headers, timeout=limit)

    async def listed(self) -> str:
        headers = {"Authorization": f"Bearer {self._key}"}
        async with self._session.get(f"{self._url}/models", headers=headers) as reply:
            return "listed" if [m["id"] for m in (await reply.json())["data"]] == ["house"] else "failed"

    async def answered(self, body: dict[str, Any]) -> str:
        async with self._post(body) as reply:
            answer = await reply.json()
        text = answer["choices"][0]["message"]["content"] if reply.status == 200 else answer
        return "answered" if text == self._expected else f"failed: {text}"

    async def streamed(self, body: dict[str, Any], word: str = "streamed") -> str:
        async with self._post(body) as reply:
            lines = (await reply.text()).splitlines()
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        chunks = [json.loads(text) for text in data[:-1]]
        texts = [c["delta"].get("content", "") for chunk in chunks for c in chunk.get("choices", [])]
        if reply.status != 200 or data[-1] != "[DONE]" or "".join(texts) != self._expected:
            return f"failed: {lines}"
        wants_usage = "stream_options" in body
        return word if bool(chunks[-1].get("usage")) is wants_usage else "failed: usage"

    async def wrong_key(self, body: dict[str, Any]) -> str:
        async with self._post(body, key="not-a-key") as reply:
            return f"{reply.status} {(await reply.json())['error']['code']}"

    async def cancelled(self, body: dict[str, Any]) -> str:
        try:
            async with self._post(body, seconds=PATIENCE_SECONDS) as reply:
                return f"failed: {await reply.text()}"
        except TimeoutError:
            return "closed"


async def open_webui(url: str, key: str, expected: str) -> dict[str, str]:
    """A page's chat, and the title that is asked for after it."""

    def chat(*messages: Message, **settings: Any) -> dict[str, Any]:
        usage = {"stream_options": {"include_usage": True}}
        return {"stream": True, "model": "house", "messages": list(messages), **usage, **settings}

    title = {"model": "house", "messages": [_user("chat")], "stream": False, "max_tokens": 1000}
    settings = {"temperature": 0.8, "top_p": 0.9, "min_p": 0.0, "frequency_penalty": 0.0, "seed": 0, "logit_bias": {}}
    async with aiohttp.ClientSession() as session:
        caller = _Caller(session, url, key, expected)
        return {
            "list": await caller.listed(),
            "chat": await caller.answered(title),
            "system": await caller.streamed(chat({"role": "system", "content": SYSTEM}, _user("system")), "answered"),
            "turns": await caller.streamed(chat(*_turns("turns")), "answered"),
            "stream": await caller.streamed(chat(_user("stream"), **settings)),
            "stop": await caller.streamed(chat(_user("stop"), stop=STOP), "answered"),
            "wrong key": await caller.wrong_key(chat(_user("wrong key"))),
            "cancelled": await caller.cancelled(chat(_user("cancelled"))),
        }


async def continue_dev(url: str, key: str, expected: str) -> dict[str, str]:
    """A chat; without streaming, what its command line asks."""

    def body(*messages: Message, stream: bool = True, **settings: Any) -> dict[str, Any]:
        usage = {"stream_options": {"include_usage": True}} if stream else {}
        return {
            **{"messages": list(messages), "model": "house", "max_tokens": 4096, "stream": stream},
            **usage,
            **settings,
        }

    async with aiohttp.ClientSession() as session:
        caller = _Caller(session, url, key, expected)
        return {
            "list": await caller.listed(),
            "chat": await caller.answered(body(_user("chat"), stream=False)),
            "system": await caller.streamed(body({"role": "system", "content": SYSTEM}, _user("system")), "answered"),
            "turns": await caller.streamed(body(*_turns("turns")), "answered"),
            "stream": await caller.streamed(body(_user("stream"), temperature=0.5)),
            "stop": await caller.streamed(body(_user("stop"), stop=STOP), "answered"),
            "wrong key": await caller.wrong_key(body(_user("wrong key"))),
            "cancelled": await caller.cancelled(body(_user("cancelled"))),
        }


async def aider(url: str, key: str, expected: str) -> dict[str, str]:
    """An edit: examples, the files of the chat, the request, and a reminder of the system's."""
    examples = [
        {"role": "user", "content": "Change the greeting."},
        {"role": "assistant", "content": "Ok."},
        {"role": "user", "content": "I switched to a new code base. Please don't consider the above files"},
        {"role": "assistant", "content": "Ok."},
    ]
    cached = {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
    files = [
        {"role": "user", "content": f"I have *added these files to the chat*\n\nmain.tf\n```\n{EARLIER}```\n"},
        {"role": "assistant", "content": "Ok, any changes I propose will be to those files."},
    ]
    reminder = {"role": "system", "content": "Answer with whole files."}

    def body(*messages: Message, stream: bool = True, **settings: Any) -> dict[str, Any]:
        return {"model": "house", "stream": stream, "temperature": 0, "messages": list(messages), **settings}

    async with aiohttp.ClientSession() as session:
        caller = _Caller(session, url, key, expected)
        return {
            "chat": await caller.answered(body(_user("chat"), stream=False)),
            "system": await caller.streamed(
                body({"role": "system", "content": [cached]}, *examples, *files, _user("system"), reminder), "answered"
            ),
            "turns": await caller.streamed(body(*_turns("turns")), "answered"),
            "stream": await caller.streamed(body(_user("stream"))),
            "wrong key": await caller.wrong_key(body(_user("wrong key"))),
            "cancelled": await caller.cancelled(body(_user("cancelled"))),
        }


CLIENTS: dict[str, Callable[[str, str, str], Awaitable[dict[str, str]]]] = {
    "Open WebUI (body)": open_webui,
    "Continue (body)": continue_dev,
    "aider (body)": aider,
}
