"""OpenAI's API: the accepted fields of requests, and the bodies of responses."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loraform_api.meta import Sha256, WireModel
from loraform_api.verification import StageResult
from loraform_engine.conversation import InputFrom, Question, Role, Turn, question_of
from loraform_gateway.errors import bad_request

INSTRUCTION_LIMIT = 100_000
"""Most characters of an instruction; the engine's context is checked in tokens."""
INPUT_LIMIT = 200_000
"""Most characters of an input: the longest program that is served can be asked to be changed."""

NAME_LIMIT = 100
"""Most characters of a field's name that an error repeats."""
CONTENT_KINDS = ("str", "list[TextPart]")
"""What pydantic writes into the path of an error in `Message.content`."""


class Verify(StrEnum):
    ON = "on"
    OFF = "off"


class LoraformOptions(BaseModel):
    """The request field `loraform`."""

    model_config = ConfigDict(extra="forbid")
    verify: Verify = Verify.ON
    input: Annotated[str, Field(max_length=INPUT_LIMIT)] | None = None
    """What the instruction refers to; empty for none. Absent: it is looked for in the conversation."""


class StreamOptions(BaseModel):
    include_usage: bool = False


class Common(BaseModel):
    """Fields of both kinds of request. Others are refused: ignoring `tools` or `stop` would be wrong."""

    model_config = ConfigDict(extra="forbid")
    model: Annotated[str, Field(max_length=200)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    loraform: LoraformOptions = LoraformOptions()


class TextPart(BaseModel):
    """Lists of them, as of messages, end at the first error: a million errors would take seconds and gigabytes."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Role
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]
    name: str | None = None

    @property
    def turn(self) -> Turn:
        """The message with its parts as one text."""
        content = self.content
        return Turn(self.role, content if isinstance(content, str) else "\n".join(part.text for part in content))


class ChatRequest(Common):
    messages: Annotated[list[Message], Field(max_length=1000, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None


class CompletionRequest(Common):
    prompt: str


RequestT = TypeVar("RequestT", bound=Common)


@dataclass(frozen=True)
class AnswerRequest:
    """A chat or completion request, as the rest of the gateway reads it."""

    question: Question
    chat: bool
    model: str
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int | None
    stream: bool
    include_usage: bool
    verify: bool


def parse_chat(body: bytes) -> AnswerRequest:
    """Parse a body of /v1/chat/completions; raises ApiError 400 that names the field."""
    request = _parse(ChatRequest, body)
    turns = [message.turn for message in request.messages]
    max_tokens = request.max_completion_tokens or request.max_tokens
    return _to_answer_request(request, turns, "messages", max_tokens, chat=True)


def parse_completion(body: bytes) -> AnswerRequest:
    """Parse a body of /v1/completions, whose prompt is the instruction; raises ApiError 400 that names the field."""
    request = _parse(CompletionRequest, body)
    if not request.prompt.strip():
        raise bad_request("`prompt` must not be empty: it is the instruction", "prompt")
    return _to_answer_request(request, [Turn(Role.USER, request.prompt)], "prompt", request.max_tokens, chat=False)


def _to_answer_request(
    request: Common, turns: list[Turn], param: str, max_tokens: int | None, *, chat: bool
) -> AnswerRequest:
    return AnswerRequest(
        question=_question(turns, request.loraform.input, param),
        chat=chat,
        model=request.model,
        max_tokens=max_tokens,
        temperature=request.temperature or 0.0,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=request.seed,
        stream=bool(request.stream),
        include_usage=bool(request.stream_options and request.stream_options.include_usage),
        verify=request.loraform.verify is Verify.ON,
    )


def _question(turns: list[Turn], field: str | None, param: str) -> Question:
    try:
        question = question_of(turns, field)
    except ValueError as error:
        raise bad_request(f"`{param}`: {error}", param) from error
    for name, text, limit in (
        ("instruction", question.instruction, INSTRUCTION_LIMIT),
        ("input", question.input, INPUT_LIMIT),
    ):
        if len(text) > limit:
            message = f"`{param}`: the {name} has {len(text)} characters, allowed are at most {limit}: shorten it"
            raise bad_request(message, param)
    return question


def _parse(kind: type[RequestT], body: bytes) -> RequestT:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)  # the input may be a prompt
        first = max(errors, key=lambda error: len(error["loc"]))  # of a union, the kind that fits best
        name = ".".join(str(p) for p in first["loc"] if p not in CONTENT_KINDS)[:NAME_LIMIT]
        problem = "is not supported by this gateway" if first["type"] == "extra_forbidden" else first["msg"]
        raise bad_request(f"`{name}`: {problem}" if name else "the body must be a JSON object", name or None) from None


class Verdict(StrEnum):
    """Result of verifying an answer. Only `Passed` is verified."""

    PASSED = "Passed"
    FAILED = "Failed"
    TRUNCATED = "Truncated"
    """The answer reached its length limit, so it was not verified."""
    EMPTY = "Empty"
    """The answer is empty, or holds only comments."""
    INCONCLUSIVE = "Inconclusive"
    """A stage could not decide: it timed out, or a provider is missing."""
    UNVERIFIED = "Unverified"
    """Requested with `verify: off`."""


class LoraformField(WireModel):
    """The response field `loraform`: the version that answered, and what was verified."""

    verified: bool
    verdict: Verdict
    version: int
    adapter_digest: Sha256
    input_from: InputFrom
    """What the prompt's input was taken from."""
    raw_passed: bool = False
    """The answer passed every check as the model wrote it."""
    rewritten: bool = False
    """The house policy was applied to the answer."""
    stages: list[StageResult] = []
    """Stages that checked the served text, in order, with diagnostics; absent stages were not reached."""


@dataclass(frozen=True)
class Answer:
    text: str
    finish_reason: str
    usage: dict[str, int]
    loraform: LoraformField


@dataclass(frozen=True)
class BodyWriter:
    """Builds the response bodies of one answer."""

    request: AnswerRequest
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def complete(self, answer: Answer) -> dict[str, Any]:
        """Return the body of a response that is not streamed."""
        text: dict[str, Any] = {"text": answer.text}
        if self.request.chat:
            text = {"message": {"role": "assistant", "content": answer.text}}
        choice = {"index": 0, **text, "logprobs": None, "finish_reason": answer.finish_reason}
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": answer.usage,
            "loraform": dump(answer.loraform),
        }

    def piece(self, text: str, *, first: bool = False) -> dict[str, Any]:
        """Return a chunk of streamed text."""
        if not self.request.chat:
            return self._chunk({"text": text}, None)
        role = {"role": "assistant"} if first else {}
        return self._chunk({"delta": {**role, "content": text}}, None)

    def last(self, finish_reason: str, loraform: LoraformField) -> dict[str, Any]:
        """Return the final chunk, which carries the verdict."""
        end: dict[str, Any] = {"delta": {}} if self.request.chat else {"text": ""}
        return {**self._chunk(end, finish_reason), "loraform": dump(loraform)}

    def usage(self, usage: dict[str, int]) -> dict[str, Any]:
        """Return the chunk that `stream_options.include_usage` requests."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage}

    def _chunk(self, content: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _head(self, chat_object: str) -> dict[str, Any]:
        prefix, kind = ("chatcmpl", chat_object) if self.request.chat else ("cmpl", "text_completion")
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.request.model}


def dump(loraform: LoraformField) -> dict[str, Any]:
    """Return the field as JSON."""
    return loraform.model_dump(mode="json", by_alias=True, exclude_none=True)
