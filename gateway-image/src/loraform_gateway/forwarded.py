"""What an agent forwards to its engine: a completion as the gateway sends it, and nothing else.

Other fields of vLLM, such as `prompt_logprobs`, can stop the whole engine.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from loraform_engine.sampling import Choices, Sampling
from loraform_gateway.closed import Closed
from loraform_gateway.errors import bad_request

MOST_ENDS = 64
"""Most tokens that end an answer."""
MOST_TOKENS = 2**31 - 1

Token = Annotated[int, Field(ge=0, le=MOST_TOKENS)]


class _StreamOptions(Closed):
    model_config = ConfigDict(strict=True)
    include_usage: bool


class ForwardedCompletion(Closed, Sampling):
    """The body of a forwarded completion; types and bounds are checked here too, whoever sends it."""

    model_config = ConfigDict(strict=True)
    model: str
    prompt: Annotated[list[Token], Field(min_length=1, fail_fast=True)]
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]
    n: Choices = 1
    stop_token_ids: Annotated[list[Token], Field(max_length=MOST_ENDS)] = []
    skip_special_tokens: bool = True
    stream: bool = False
    stream_options: _StreamOptions | None = None

    @classmethod
    def of(cls, body: bytes) -> ForwardedCompletion:
        """Parse a body; raises ApiError 400 that names the first field that is not forwarded."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])[:50]
            problem = "is not forwarded to the engine" if first["type"] == "extra_forbidden" else first["msg"]
            raise bad_request(
                f"`{name}` {problem}" if name else "the body must be a JSON object", name or None
            ) from None

    def body(self) -> bytes:
        """Return the fields that were sent, as JSON."""
        return self.model_dump_json(exclude_unset=True).encode()
