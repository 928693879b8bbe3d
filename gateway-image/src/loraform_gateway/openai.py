"""OpenAI's requests, as the rest of the gateway reads them, and the words of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_core import from_json

from loraform_api.meta import Sha256, WireModel
from loraform_api.verification import MAX_TEXT, StageResult
from loraform_engine.conversation import InputFrom, Question, Role, Turn, question_of
from loraform_engine.sampling import Choices, Sampling
from loraform_gateway.closed import Closed
from loraform_gateway.errors import bad_request
from loraform_gateway.fields import Api, used_fields

INSTRUCTION_LIMIT = 100_000
"""Most characters of an instruction; the engine's context is checked in tokens."""
INPUT_LIMIT = MAX_TEXT
"""Most characters of an input: the longest program that is served can be asked to be changed."""
MESSAGE_LIMIT = INSTRUCTION_LIMIT + INPUT_LIMIT
"""Most characters of one message, checked before it is divided."""

NAME_LIMIT = 100
"""Most characters of a field's name that an error repeats."""
UNION_MEMBERS = ("str", "list[TextPart]", "list[ItemPart]", "list[Item]")
"""What pydantic writes into the path of an error in a field that is a text or a list."""


class Verify(StrEnum):
    ON = "on"
    OFF = "off"


class LoraformOptions(Closed):
    """The request field `loraform`."""

    verify: Verify = Verify.ON
    input: Annotated[str, Field(max_length=INPUT_LIMIT)] | None = None
    """What the instruction refers to; empty for none. Absent: it is looked for in the conversation."""


class StreamOptions(Closed):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Texts that hide the lengths of pieces from who listens: the gateway sends none, as a caller may choose."""


Limit = Annotated[int, Field(ge=1)]
"""Most tokens of an answer; cut to what the context leaves."""


class Common(Closed, Sampling):
    """Fields of every kind of request that its answer depends on; `fields.py` has the others."""

    model: Annotated[str, Field(max_length=200)]
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    loraform: LoraformOptions = LoraformOptions()

    @field_validator("stop", mode="before")
    @classmethod
    def _listed(cls, stop: object) -> object:
        return [stop] if isinstance(stop, str) else stop


class TextPart(BaseModel):
    """Lists of them, as of messages, end at the first error: a million errors would take seconds and gigabytes."""

    type: Literal["text"]
    text: str


class Message(Closed):
    """A message of a chat. Clients send answers back whole, with fields that this gateway leaves empty."""

    role: Role
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]
    name: str | None = None
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[None], Field(max_length=0)] | None = None
    annotations: list[Any] | None = None
    reasoning_content: str | None = None
    cache_control: Any = None


class ItemPart(BaseModel):
    type: Literal["input_text", "output_text"]
    text: str


class Item(Closed):
    """A message of `/v1/responses`, also as an earlier response had it."""

    type: Literal["message"] = "message"
    role: Role
    content: str | Annotated[list[ItemPart], Field(fail_fast=True)]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class ChatRequest(Common):
    messages: Annotated[list[Message], Field(max_length=1000, fail_fast=True)]
    n: Choices = 1
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None


class CompletionRequest(Common):
    prompt: str
    n: Choices = 1
    max_tokens: Limit | None = None


class ResponseRequest(Common):
    input: str | Annotated[list[Item], Field(max_length=1000, fail_fast=True)]
    instructions: str | None = None
    max_output_tokens: Limit | None = None


RequestT = TypeVar("RequestT", bound=Common)


@dataclass(frozen=True)
class AnswerRequest:
    """A request for an answer, as the rest of the gateway reads it."""

    question: Question
    api: Api
    model: str
    max_tokens: int | None
    n: int
    sampling: Sampling
    stream: bool
    include_usage: bool
    verify: bool


def parse_chat(body: bytes) -> AnswerRequest:
    """Parse a body of /v1/chat/completions; raises ApiError 400 that names the field."""
    request = _parse(ChatRequest, Api.CHAT, body)
    turns = [_turn(message) for message in request.messages]
    limit = request.max_completion_tokens or request.max_tokens
    return _to_answer_request(request, Api.CHAT, turns, limit, request.n)


def parse_completion(body: bytes) -> AnswerRequest:
    """Parse a body of /v1/completions, whose prompt is the instruction; raises ApiError 400 that names the field."""
    request = _parse(CompletionRequest, Api.COMPLETIONS, body)
    if not request.prompt.strip():
        raise bad_request("`prompt` must not be empty: it is the instruction", "prompt")
    turns = [Turn(Role.USER, request.prompt)]
    return _to_answer_request(request, Api.COMPLETIONS, turns, request.max_tokens, request.n)


def parse_response(body: bytes) -> AnswerRequest:
    """Parse a body of /v1/responses; raises ApiError 400 that names the field."""
    request = _parse(ResponseRequest, Api.RESPONSES, body)
    system = [Turn(Role.SYSTEM, request.instructions)] if request.instructions else []
    asked = [Turn(Role.USER, request.input)] if isinstance(request.input, str) else list(map(_turn, request.input))
    return _to_answer_request(request, Api.RESPONSES, [*system, *asked], request.max_output_tokens, n=1)


TEXTS = {Api.CHAT: "messages", Api.COMPLETIONS: "prompt", Api.RESPONSES: "input"}
"""Field with the texts of a request."""


def _to_answer_request(request: Common, api: Api, turns: list[Turn], limit: int | None, n: int) -> AnswerRequest:
    return AnswerRequest(
        question=_question(turns, request.loraform.input, TEXTS[api]),
        api=api,
        model=request.model,
        max_tokens=limit,
        n=n,
        sampling=Sampling(**{name: getattr(request, name) for name in Sampling.model_fields}),
        stream=request.stream,
        include_usage=bool(request.stream_options.include_usage),
        verify=request.loraform.verify is Verify.ON,
    )


def _turn(message: Message | Item) -> Turn:
    """Return a message with its parts as one text."""
    content = message.content
    return Turn(message.role, content if isinstance(content, str) else "\n".join(part.text for part in content))


def _question(turns: list[Turn], field: str | None, param: str) -> Question:
    longest = max((len(turn.text) for turn in turns), default=0)
    if longest > MESSAGE_LIMIT:
        message = f"`{param}`: a message has {longest} characters, allowed are at most {MESSAGE_LIMIT}: shorten it"
        raise bad_request(message, param)
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


def _parse(kind: type[RequestT], api: Api, body: bytes) -> RequestT:
    try:
        fields = from_json(body)
    except ValueError as error:  # its text names the place and quotes nothing
        raise bad_request(f"the body must be a JSON object: {error}") from None
    if not isinstance(fields, Mapping):
        raise bad_request("the body must be a JSON object")
    try:
        return kind.model_validate(used_fields(api, fields))
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)  # the input may be a prompt
        first = max(errors, key=lambda error: len(error["loc"]))  # of a union, the kind that fits best
        name = ".".join(str(p) for p in first["loc"] if p not in UNION_MEMBERS)[:NAME_LIMIT]
        problem, code = _PROBLEMS.get(first["type"], (first["msg"], "invalid_value"))
        raise bad_request(f"`{name}`: {problem}", name, code) from None


_PROBLEMS = {
    "model_type": ("must be an object", "invalid_value"),
    "extra_forbidden": ("is not supported by this gateway", "unknown_parameter"),
    "missing": ("is required", "missing_required_parameter"),
}


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
    as_measured: bool
    """Whether the evaluation of the version would have given the same text: greedy, without stop words, penalties and a
    limit of its own that had an effect."""
    raw_passed: bool = False
    """The answer passed every check as the model wrote it."""
    rewritten: bool = False
    """The house policy was applied to the answer."""
    stages: list[StageResult] = []
    """Stages that checked the served text, in order, with diagnostics; absent stages were not reached."""


@dataclass(frozen=True)
class Choice:
    """One of the answers to a request."""

    text: str
    finish_reason: str
    loraform: LoraformField


@dataclass(frozen=True)
class Answer:
    """All answers to a request."""

    choices: list[Choice]
    usage: dict[str, int]


def dump(loraform: LoraformField) -> dict[str, Any]:
    """Return the field as JSON."""
    return loraform.model_dump(mode="json", by_alias=True, exclude_none=True)
