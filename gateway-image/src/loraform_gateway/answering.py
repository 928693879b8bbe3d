"""Answers one request: prompt, generate, verify. HTTP bodies and streams are made elsewhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from loraform_api.heartbeat import Route, RouteAdapter, adapter_name
from loraform_api.verification import MAX_TEXT
from loraform_engine.client import Engine, completion
from loraform_engine.errors import EngineRefused, EngineUnreachable
from loraform_engine.program import program_in
from loraform_engine.prompt import asked_text
from loraform_engine.prompting import BaseModelUnreadable, Prompter, load_prompter
from loraform_gateway import request_id
from loraform_gateway.errors import UPSTREAM, ApiError, bad_request, unavailable
from loraform_gateway.keys import caller
from loraform_gateway.metrics import Metrics
from loraform_gateway.openai import TEXTS, Answer, AnswerRequest, Choice, LoraformField, Verdict
from loraform_gateway.route import live_adapter
from loraform_gateway.verifying import VerifiedAnswer, Verify, unverified_answer, verify_answer

LOG = logging.getLogger(__name__)
T = TypeVar("T")
Args = TypeVarTuple("Args")
AT_A_TIME = 2
"""Long texts that are parsed or tokenised at the same time; others wait, and one whose caller left is dropped."""
SHORT_TEXT = 4096
"""Most characters that are parsed or tokenised on the event loop: a few milliseconds, and a thread costs as much."""
CONTEXT_SECONDS = 60
"""Seconds until the engine's context length is asked again: an engine of a changed profile may have another."""


@dataclass(frozen=True)
class PreparedRequest:
    """A checked request with the engine request to send."""

    request: AnswerRequest
    route: Route
    adapter: RouteAdapter
    body: Mapping[str, Any]
    measured_limit: int
    """Most tokens of the answer in the version's evaluation, with this prompt."""

    @property
    def copies(self) -> int:
        """How often each of the engine's texts is given: greedy ones are all the same."""
        return self.request.n if self.request.sampling.greedy else 1

    def as_measured(self, finish_reason: str, tokens: int) -> bool:
        """Say whether the evaluation would have given the same text; `tokens` is the length of the only answer."""
        same_limit = self.body["max_tokens"] == self.measured_limit
        ended = finish_reason != "length" and tokens <= self.measured_limit
        return self.request.sampling.as_measured and (same_limit or ended)

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
        self._beside = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="texts")
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
        texts = (request.question.instruction, request.question.input)
        ids = await self.on_text(sum(map(len, texts)), prompter.tokens, *texts)
        room = await self._room(request, len(ids))
        body = completion(
            adapter_name(adapter.digest),
            ids,
            max_tokens=min(request.max_tokens or adapter.max_new_tokens, room),
            stops=prompter.ends,
            sampling=request.sampling,
            n=1 if request.sampling.greedy else request.n,
        )
        return PreparedRequest(request, route, adapter, body, min(adapter.max_new_tokens, room))

    async def on_text(self, size: int, work: Callable[[*Args], T], *args: *Args) -> T:
        """Return the result of `work` on a text of `size` characters, done beside the event loop if it is long."""
        if size <= SHORT_TEXT:
            return work(*args)
        return await asyncio.get_running_loop().run_in_executor(self._beside, work, *args)

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
        """Generate and verify the answer; raises ApiError when the engine does not respond."""
        try:
            reply = await self._engine.complete(prepared.body, request_id=request_id.current())
        except (EngineUnreachable, EngineRefused) as error:
            raise _engine_error(error) from error
        usage = self._usage(reply.get("usage"))
        texts = [(str(choice["text"]), str(choice["finish_reason"])) for choice in reply["choices"]]
        choices = await asyncio.gather(*(self._choice(prepared, *text, usage) for text in texts))
        return Answer(list(choices) * prepared.copies, usage)

    async def _choice(self, prepared: PreparedRequest, text: str, finish: str, usage: dict[str, int]) -> Choice:
        """Return one text with what verifying it found."""
        as_measured = prepared.as_measured(finish, usage["completion_tokens"])
        if not prepared.request.verify:
            return Choice(text, finish, self.field(prepared, Verdict.UNVERIFIED, as_measured))
        program = program_in(text, truncated=finish == "length")
        if program.truncated or len(program.text) > MAX_TEXT:
            return Choice(text, finish, self.field(prepared, Verdict.TRUNCATED, as_measured))
        verified = await self._verified(prepared, program.text)
        field = self.field(prepared, verified.verdict, as_measured).model_copy(
            update={
                "raw_passed": verified.raw_passed,
                "rewritten": verified.rewritten,
                "stages": verified.stages,
            }
        )
        return Choice(verified.text, finish, field)

    async def _verified(self, prepared: PreparedRequest, text: str) -> VerifiedAnswer:
        """Verify a text; without a verifier it is still the answer that was generated, and says so."""
        question, policy = prepared.request.question, prepared.route.policy
        prompt = asked_text(question.instruction, question.input)
        try:
            with self._metrics.verification.time():
                return await verify_answer(self._verify, text, policy, prompt, caller())
        except (OSError, RuntimeError, ValueError) as error:
            said = f": {error}" if isinstance(error, UPSTREAM) else ""  # texts of other errors may quote the answer
            words = (request_id.current(), type(error).__name__, said)
            LOG.warning("request %s: the answer was not verified: %s%s", *words)
            return unverified_answer(text, "the verifier does not answer in time")

    async def stream(self, prepared: PreparedRequest) -> AsyncIterator[tuple[int, str] | Answer]:
        """Yield raw texts with their choices' numbers as they are generated, then an `Answer` without texts.

        Nothing is verified.
        """
        numbers = range(prepared.request.n)
        finish = dict.fromkeys(numbers, "stop")
        usage: Mapping[str, Any] | None = None
        body = {**prepared.body, "stream_options": {"include_usage": True}}
        try:
            async for event in self._engine.stream(body, request_id=request_id.current()):
                usage = event.get("usage") or usage
                for choice in event.get("choices") or []:
                    index = int(choice.get("index") or 0)
                    for number in numbers if prepared.copies > 1 else [index]:
                        finish[number] = choice.get("finish_reason") or finish[number]
                        if choice.get("text"):
                            yield number, str(choice["text"])
        except (EngineUnreachable, EngineRefused) as error:
            raise _engine_error(error) from error
        tokens = self._usage(usage)
        yield Answer([self._unverified(prepared, finish[number], tokens) for number in numbers], tokens)

    def _unverified(self, prepared: PreparedRequest, finish: str, usage: dict[str, int]) -> Choice:
        verdict = Verdict.TRUNCATED if finish == "length" else Verdict.UNVERIFIED
        as_measured = prepared.as_measured(finish, usage["completion_tokens"])
        return Choice("", finish, self.field(prepared, verdict, as_measured))

    def field(self, prepared: PreparedRequest, verdict: Verdict, as_measured: bool) -> LoraformField:
        """Return the answer's `loraform` field, without results of checks."""
        return LoraformField(
            verified=verdict is Verdict.PASSED,
            verdict=verdict,
            version=prepared.adapter.version,
            adapter_digest=prepared.adapter.digest,
            input_from=prepared.request.question.input_from,
            as_measured=as_measured,
        )

    async def _room(self, request: AnswerRequest, prompt: int) -> int:
        """Return the tokens that the engine's context leaves beside a prompt of `prompt` tokens."""
        context = await self._context_length()
        if prompt >= context:
            raise ApiError(
                400,
                "context_length_exceeded",
                f"the prompt has {prompt} tokens, but the model's context has {context}: shorten it",
                param=TEXTS[request.api],
            )
        return context - prompt

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
