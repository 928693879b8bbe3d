"""Bodies of OpenAI's chat completions and completions."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

from loraform_gateway.errors import ApiError
from loraform_gateway.fields import Api
from loraform_gateway.openai import Answer, AnswerRequest, Choice, dump
from loraform_gateway.responses import ResponseBodies

Body = dict[str, Any]


class Bodies(Protocol):
    """Builds the bodies of one answer: a single one, or the events of a stream in the order of these methods."""

    ends_with_done: bool
    """Whether `[DONE]` ends a stream."""

    def complete(self, answer: Answer) -> Body:
        """Return the body of a response that is not streamed."""

    def begin(self) -> list[Body]:
        """Return the events before the first text."""

    def piece(self, index: int, text: str) -> list[Body]:
        """Return the events of a piece of text of one choice."""

    def end(self, answer: Answer) -> list[Body]:
        """Return the events that carry the verdict, and the usage; texts were sent before."""

    def failed(self, error: ApiError) -> list[Body]:
        """Return the events of an error after the stream began."""


def bodies_for(request: AnswerRequest) -> Bodies:
    """Return the bodies of the path that `request` came by."""
    return ResponseBodies(request) if request.api is Api.RESPONSES else ChoiceBodies(request)


@dataclass(frozen=True)
class ChoiceBodies:
    """Bodies with `choices`. With one choice the field `loraform` stands beside it, else each choice has its own."""

    request: AnswerRequest
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    ends_with_done = True

    def complete(self, answer: Answer) -> Body:
        choices, about = [], {}
        for index, choice in enumerate(answer.choices):
            text: Body = {"text": choice.text}
            if self._chat:
                text = {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
            choices.append(self._choice(index, text, choice.finish_reason))
            about = self._attach(choices[-1], choice)
        return {**self._head("chat.completion"), "choices": choices, "usage": answer.usage, **about}

    def begin(self) -> list[Body]:
        if not self._chat:
            return []
        first = {"delta": {"role": "assistant", "content": ""}}
        return [self._chunk(self._choice(index, first, None)) for index in range(self.request.n)]

    def piece(self, index: int, text: str) -> list[Body]:
        content: Body = {"delta": {"content": text}} if self._chat else {"text": text}
        return [self._chunk(self._choice(index, content, None))]

    def end(self, answer: Answer) -> list[Body]:
        events = []
        for index, choice in enumerate(answer.choices):
            last = self._choice(index, {"delta": {}} if self._chat else {"text": ""}, choice.finish_reason)
            about = self._attach(last, choice)
            events.append({**self._chunk(last), **about})
        if self.request.include_usage:
            events.append({**self._head("chat.completion.chunk"), "choices": [], "usage": answer.usage})
        return events

    def failed(self, error: ApiError) -> list[Body]:
        return [error.body()]

    @property
    def _chat(self) -> bool:
        return self.request.api is Api.CHAT

    def _attach(self, body: Body, choice: Choice) -> Body:
        """Write `loraform` into one of several choices, or return it for the place beside a single one."""
        about = {"loraform": dump(choice.loraform)}
        if self.request.n == 1:
            return about
        body.update(about)
        return {}

    def _choice(self, index: int, content: Body, finish_reason: str | None) -> Body:
        return {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}

    def _chunk(self, choice: Body) -> Body:
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _head(self, chat_object: str) -> Body:
        prefix, kind = ("chatcmpl", chat_object) if self._chat else ("cmpl", "text_completion")
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.request.model}
