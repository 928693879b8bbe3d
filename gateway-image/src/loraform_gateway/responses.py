"""Bodies and events of OpenAI's responses: one message of one text. Nothing is stored."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from loraform_gateway.errors import ApiError
from loraform_gateway.openai import Answer, AnswerRequest, dump

Body = dict[str, Any]


@dataclass
class ResponseBodies:
    """Builds the bodies of one answer; of a stream it also keeps the text and the number of events."""

    request: AnswerRequest
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    ends_with_done = False
    _text: str = ""
    _sent: int = 0

    def complete(self, answer: Answer) -> Body:
        """Return the response object."""
        return self._response(self._status(answer), answer, answer.choices[0].text)

    def begin(self) -> list[Body]:
        started = self._response("in_progress")
        return [
            self._event("response.created", response=started),
            self._event("response.in_progress", response=started),
            self._event("response.output_item.added", output_index=0, item=self._message("in_progress")),
            self._event("response.content_part.added", **self._place, content_index=0, part=_part("")),
        ]

    def piece(self, index: int, text: str) -> list[Body]:
        self._text += text
        return [self._event("response.output_text.delta", **self._place, content_index=0, delta=text, logprobs=[])]

    def end(self, answer: Answer) -> list[Body]:
        status, text = self._status(answer), self._text
        message = self._message(status, text)
        return [
            self._event("response.output_text.done", **self._place, content_index=0, text=text, logprobs=[]),
            self._event("response.content_part.done", **self._place, content_index=0, part=_part(text)),
            self._event("response.output_item.done", output_index=0, item=message),
            self._event(f"response.{status}", response=self._response(status, answer, text)),
        ]

    def failed(self, error: ApiError) -> list[Body]:
        reason = {"code": error.code, "message": error.message}
        return [self._event("response.failed", response={**self._response("failed"), "error": reason})]

    def _status(self, answer: Answer) -> str:
        return "incomplete" if answer.choices[0].finish_reason == "length" else "completed"

    def _response(self, status: str, answer: Answer | None = None, text: str = "") -> Body:
        sampling = self.request.sampling
        body: Body = {
            **{"id": f"resp_{self.id}", "object": "response", "created_at": self.created, "model": self.request.model},
            **{"status": status, "error": None, "incomplete_details": None, "output": [], "usage": None},
            **{"temperature": sampling.temperature, "top_p": sampling.top_p, "text": {"format": {"type": "text"}}},
            **{"max_output_tokens": self.request.max_tokens, "truncation": "disabled", "store": False},
            **{"tools": [], "tool_choice": "auto", "parallel_tool_calls": False, "reasoning": None},
            **{"instructions": None, "previous_response_id": None, "metadata": {}, "background": False},
        }
        if answer is None:
            return body
        if status == "incomplete":
            body["incomplete_details"] = {"reason": "max_output_tokens"}
        return {
            **body,
            "output": [self._message(status, text)],
            "usage": _usage(answer.usage),
            "loraform": dump(answer.choices[0].loraform),
        }

    @property
    def _place(self) -> Body:
        return {"item_id": f"msg_{self.id}", "output_index": 0}

    def _message(self, status: str, text: str | None = None) -> Body:
        content = [] if text is None else [_part(text)]
        return {"id": f"msg_{self.id}", "type": "message", "role": "assistant", "status": status, "content": content}

    def _event(self, kind: str, **fields: Any) -> Body:
        self._sent += 1
        return {"type": kind, "sequence_number": self._sent - 1, **fields}


def _part(text: str) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: dict[str, int]) -> Body:
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
