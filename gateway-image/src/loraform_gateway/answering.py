"""Answers one request: prompt, generate, verify. HTTP bodies and streams are made elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from loraform_api.heartbeat import Route, RouteAdapter, adapter_name
from loraform_engine.client import Engine, completion
from loraform_engine.conversation import Question
from loraform_engine.errors import EngineRefused, EngineUnreachable
from loraform_engine.program import program_in
from loraform_engine.prompt import asked_text
from loraform_engine.prompting import BaseModelUnreadable, Prompter, load_prompter
from loraform_gateway import request_id
from loraform_gateway.errors import ApiError, bad_request, unavailable
from loraform_gateway.keys import caller
from loraform_gateway.metrics import Metrics
from loraform_gateway.openai import Answer, AnswerRequest, LoraformField, Verdict
from loraform_gateway.route import live_adapter
from loraform_gateway.verifying import Verify, verify_answer

PROGRAM_LIMIT = 200_000
"""Most characters that the verifier accepts."""
TOKENISERS = 2
"""Prompts that are tokenised at the same time; others wait, and one whose caller left is dropped. `tokenizers` lets go
of the interpreter meanwhile."""
CONTEXT_SECONDS = 60
"""Seconds until the engine's context length is asked again: an engine of a changed profile may have another."""


@dataclass(frozen=True)
class PreparedRequest:
    """A checked request with the engine request to send."""

    request: AnswerRequest
    route: Route
    adapter: RouteAdapter
    body: Mapping[str, Any]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt, and the most that its answers may have."""
        return len(self.body["prompt"]) + int(self.body["max_tokens"]) * int(self.body.get("n", 1))


class Answerer:
    """Answers with the route's live adapter."""

    def __init__(
        self, engine: Engine, verify: Verify, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine, self._verify, self._metrics, self._clock = engine, verify, metrics, clock
        self._prompters: dict[str, Prompter] = {}
        self._tokenisers = ThreadPoolExecutor(TOKENISERS, thread_name_prefix="tokenise")
        self._context = 0
        self._context_until = -inf

    async def prepare(self, request: AnswerRequest, route: Route | None) -> PreparedRequest:
        """Check `request` and build the engine request; raises ApiError when it cannot be answered."""
        if route is None:
            raise unavailable("no_route", "the gateway has no route yet; try again")
        if request.model != route.model:
            raise ApiError(404, "model_not_found", f"the model is '{route.model}'", param="model")
        if route.scaled_to_zero:
            raise unavailable(
                "scaled_to_zero",
                f"scaled to zero: set `spec.serving.replicas` of IaCModel '{route.model}' to 1 or more",
                retry_after=60,
            )
        adapter = live_adapter(route)
        if adapter is None:
            raise unavailable("no_live_version", f"no version of '{route.model}' is live yet", retry_after=15)
        prompter = await self.prompter(route.base_path, adapter)
        ids = await self._tokenise(prompter, request.question)
        body = completion(
            adapter_name(adapter.digest),
            ids,
            max_tokens=await self._max_tokens(request, len(ids), adapter.max_new_tokens),
            stops=prompter.ends,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
        )
        return PreparedRequest(request, route, adapter, body)

    async def _tokenise(self, prompter: Prompter, question: Question) -> list[int]:
        """Return the prompt's ids, made beside the event loop: a long prompt takes tenths of a second."""
        work = asyncio.get_running_loop().run_in_executor
        return await work(self._tokenisers, prompter.tokens, question.instruction, question.input)

    async def prompter(self, base_path: str, adapter: RouteAdapter) -> Prompter:
        """Return the prompter of the base model; raises ApiError 503 unless `adapter` was trained with its template."""
        try:
            if base_path not in self._prompters:
                self._prompters = {base_path: await asyncio.to_thread(load_prompter, Path(base_path))}
        except (BaseModelUnreadable, OSError) as error:
            raise unavailable("base_model_unreadable", str(error), retry_after=30) from error
        if mismatch := self.template_mismatch(base_path, adapter):
            raise unavailable("template_mismatch", mismatch, retry_after=60)
        return self._prompters[base_path]

    def template_mismatch(self, base_path: str, adapter: RouteAdapter) -> str:
        """Return how the adapter's template differs from the base model's; empty when not, or the base is not read."""
        prompter = self._prompters.get(base_path)
        if prompter is None or prompter.template_hash == adapter.template_hash:
            return ""
        return (
            f"version {adapter.version} was trained with prompt template {adapter.template_hash[:16]}, "
            f"but the base model here has template {prompter.template_hash[:16]}"
        )

    async def answer(self, prepared: PreparedRequest) -> Answer:
        """Generate and verify the answer; raises ApiError when engine or verifier do not respond."""
        try:
            reply = await self._engine.complete(prepared.body, request_id=request_id.current())
        except (EngineUnreachable, EngineRefused) as error:
            raise _engine_error(error) from error
        choice = reply["choices"][0]
        text, finish = choice["text"], choice["finish_reason"]
        usage = self._usage(reply.get("usage"))
        if not prepared.request.verify:
            return Answer(text, finish, usage, self.field(prepared, Verdict.UNVERIFIED))
        program = program_in(text, truncated=finish == "length")
        if program.truncated or len(program.text) > PROGRAM_LIMIT:
            return Answer(text, finish, usage, self.field(prepared, Verdict.TRUNCATED))
        try:
            with self._metrics.verification.time():
                question, policy = prepared.request.question, prepared.route.policy
                prompt = asked_text(question.instruction, question.input)
                verified = await verify_answer(self._verify, program.text, policy, prompt)
        except (OSError, RuntimeError, ValueError) as error:
            raise unavailable(
                "verifier_unavailable", f"the verifier does not answer ({type(error).__name__})"
            ) from error
        field = self.field(prepared, verified.verdict).model_copy(
            update={
                "raw_passed": verified.raw_passed,
                "rewritten": verified.rewritten,
                "stages": verified.served.stages,
            }
        )
        return Answer(verified.text, finish, usage, field)

    async def stream(self, prepared: PreparedRequest) -> AsyncIterator[str | Answer]:
        """Yield raw text as it is generated, then an `Answer` without text. Nothing is verified."""
        finish: str = "stop"
        usage: Mapping[str, Any] | None = None
        body = {**prepared.body, "stream_options": {"include_usage": True}}
        try:
            async for event in self._engine.stream(body, request_id=request_id.current()):
                usage = event.get("usage") or usage
                for choice in event.get("choices") or []:
                    finish = choice.get("finish_reason") or finish
                    if choice.get("text"):
                        yield str(choice["text"])
        except (EngineUnreachable, EngineRefused) as error:
            raise _engine_error(error) from error
        verdict = Verdict.TRUNCATED if finish == "length" else Verdict.UNVERIFIED
        yield Answer("", finish, self._usage(usage), self.field(prepared, verdict))

    def field(self, prepared: PreparedRequest, verdict: Verdict) -> LoraformField:
        """Return the answer's `loraform` field, without results of checks."""
        return LoraformField(
            verified=verdict is Verdict.PASSED,
            verdict=verdict,
            version=prepared.adapter.version,
            adapter_digest=prepared.adapter.digest,
            input_from=prepared.request.question.input_from,
        )

    async def _max_tokens(self, request: AnswerRequest, prompt: int, default: int) -> int:
        """Return the most tokens of the answer: as requested or the default, within the engine's context."""
        context = await self._context_length()
        if prompt >= context:
            raise ApiError(
                400,
                "context_length_exceeded",
                f"the prompt has {prompt} tokens, but the model's context has {context}: shorten it",
                param="messages" if request.chat else "prompt",
            )
        if request.max_tokens is not None and prompt + request.max_tokens > context:
            raise bad_request(f"`max_tokens` must be at most {context - prompt} with this prompt", "max_tokens")
        return min(request.max_tokens or default, context - prompt)

    async def _context_length(self) -> int:
        if self._clock() >= self._context_until:
            try:
                self._context = await self._engine.max_length()
            except (EngineUnreachable, EngineRefused) as error:
                raise _engine_error(error) from error
            self._context_until = self._clock() + CONTEXT_SECONDS
        return self._context

    def _usage(self, usage: Mapping[str, Any] | None) -> dict[str, int]:
        tokens = {k: int((usage or {}).get(k) or 0) for k in ("prompt_tokens", "completion_tokens", "total_tokens")}
        self._metrics.count_tokens(caller(), tokens["prompt_tokens"], tokens["completion_tokens"])
        return tokens


def _engine_error(error: Exception) -> ApiError:
    """Return 400 for a refused request, 503 for the rest; 404 means that the adapter is not loaded yet."""
    if isinstance(error, EngineRefused) and error.status not in (401, 403, 404):
        return bad_request(f"the engine refused the request: {error}")
    return unavailable("engine_unreachable", "the engine is starting, restarting or loading the version; try again")
