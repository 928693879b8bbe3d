"""One request from instruction to answer: prompt, generate, verify. Knows neither HTTP bodies nor streams' framing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraform_api.heartbeat import Route, RouteAdapter, adapter_name
from loraform_api.names import ENGINE_MODEL
from loraform_engine.client import Engine, EngineRefused, EngineUnreachable
from loraform_engine.prompt import unfenced
from loraform_engine.prompting import BaseModelUnreadable, Prompter, load_prompter
from loraform_gateway.errors import ApiError, bad_request, unavailable
from loraform_gateway.metrics import Metrics
from loraform_gateway.openai import Answer, Asked, LoraformField, Verdict
from loraform_gateway.route import live_adapter
from loraform_gateway.verifying import Verify, judge

DEFAULT_MAX_TOKENS = 1024
"""As `evaluation.maxNewTokens`: what was measured is what is served."""
PROGRAM_LIMIT = 200_000
"""Characters that the verifier takes."""


@dataclass(frozen=True)
class Job:
    """A request that can be generated: everything is checked."""

    asked: Asked
    route: Route
    adapter: RouteAdapter
    body: Mapping[str, Any]


class Answerer:
    """Answers with the route's live adapter."""

    def __init__(self, engine: Engine, verify: Verify, metrics: Metrics) -> None:
        self._engine, self._verify, self._metrics = engine, verify, metrics
        self._prompters: dict[str, Prompter] = {}
        self._context_lengths: dict[str, int] = {}

    async def prepare(self, asked: Asked, route: Route | None) -> Job:
        """Return the job for `asked`; ApiError when it cannot be answered."""
        if route is None:
            raise unavailable("no_route", "no route is known yet")
        if asked.model != route.model:
            raise ApiError(404, "model_not_found", f"the model is '{route.model}'", param="model")
        adapter = live_adapter(route)
        if adapter is None:
            raise unavailable("no_live_version", f"no version of '{route.model}' is live yet", retry_after=15)
        prompter = await self.prompter(route.base_path, adapter)
        ids = prompter.tokens(asked.instruction)
        body = {
            "model": adapter_name(adapter.digest),
            "prompt": ids,
            "max_tokens": await self._max_tokens(asked, len(ids), route.base_path),
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "n": 1,
            "stop_token_ids": [prompter.eos],
            **({} if asked.seed is None else {"seed": asked.seed}),
        }
        return Job(asked, route, adapter, body)

    async def prompter(self, base_path: str, adapter: RouteAdapter) -> Prompter:
        """Return the prompter of the base model; ApiError 503 unless it is the one that `adapter` was trained with."""
        try:
            if base_path not in self._prompters:
                self._prompters = {base_path: await asyncio.to_thread(load_prompter, Path(base_path))}
        except BaseModelUnreadable as error:
            raise unavailable("base_model_unreadable", str(error), retry_after=30) from error
        prompter = self._prompters[base_path]
        if prompter.template_hash != adapter.template_hash:
            raise unavailable(
                "template_mismatch",
                f"version {adapter.version} was trained with prompt template {adapter.template_hash[:16]}, "
                f"the base model here gives {prompter.template_hash[:16]}",
                retry_after=60,
            )
        return prompter

    async def answer(self, job: Job) -> Answer:
        """Generate, verify and return the answer; ApiError when engine or verifier cannot be had."""
        try:
            reply = await self._engine.complete(job.body)
        except (EngineUnreachable, EngineRefused) as error:
            raise _engine_error(error) from error
        choice = reply["choices"][0]
        text, finish = str(choice.get("text", "")), str(choice.get("finish_reason") or "stop")
        usage = self._usage(reply.get("usage"))
        if not job.asked.verify:
            return Answer(text, finish, usage, self.field(job, Verdict.UNVERIFIED))
        if finish == "length" or len(text) > PROGRAM_LIMIT:
            return Answer(text, finish, usage, self.field(job, Verdict.TRUNCATED))
        try:
            with self._metrics.verification.time():
                judged = await judge(self._verify, unfenced(text), job.route.policy)
        except (OSError, RuntimeError, ValueError) as error:
            raise unavailable(
                "verifier_unavailable", f"the verifier does not answer ({type(error).__name__})"
            ) from error
        field = self.field(job, judged.verdict).model_copy(
            update={"raw_passed": judged.raw_passed, "rewritten": judged.rewritten, "stages": judged.served.stages}
        )
        return Answer(judged.text, finish, usage, field)

    async def stream(self, job: Job) -> AsyncIterator[str | Answer]:
        """Yield raw text as it comes, then an `Answer` without text that ends it. Nothing is verified."""
        finish: str = "stop"
        usage: Mapping[str, Any] | None = None
        body = {**job.body, "stream_options": {"include_usage": True}}
        try:
            async for event in self._engine.stream(body):
                usage = event.get("usage") or usage
                for choice in event.get("choices") or []:
                    finish = choice.get("finish_reason") or finish
                    if choice.get("text"):
                        yield str(choice["text"])
        except (EngineUnreachable, EngineRefused) as error:
            raise _engine_error(error) from error
        verdict = Verdict.TRUNCATED if finish == "length" else Verdict.UNVERIFIED
        yield Answer("", finish, self._usage(usage), self.field(job, verdict))

    def field(self, job: Job, verdict: Verdict) -> LoraformField:
        """Return the answer's `loraform` field, without checks."""
        return LoraformField(
            verified=verdict is Verdict.PASSED,
            verdict=verdict,
            version=job.adapter.version,
            adapter_digest=job.adapter.digest,
        )

    async def _max_tokens(self, asked: Asked, prompt: int, base_path: str) -> int:
        """Return the answer's limit: what was asked or the default, inside the engine's context."""
        try:
            if base_path not in self._context_lengths:
                models = await self._engine.models()
                self._context_lengths = {base_path: int(models[ENGINE_MODEL]["max_model_len"])}
        except (EngineUnreachable, EngineRefused, KeyError, TypeError) as error:
            raise _engine_error(error) from error
        context = self._context_lengths[base_path]
        if prompt >= context:
            raise bad_request(f"the prompt has {prompt} tokens, the model's context {context}", _param(asked))
        if asked.max_tokens is not None and prompt + asked.max_tokens > context:
            raise bad_request(f"`max_tokens` must be at most {context - prompt} with this prompt", "max_tokens")
        return min(asked.max_tokens or DEFAULT_MAX_TOKENS, context - prompt)

    def _usage(self, usage: Mapping[str, Any] | None) -> dict[str, int]:
        found = {k: int((usage or {}).get(k) or 0) for k in ("prompt_tokens", "completion_tokens", "total_tokens")}
        self._metrics.count_tokens(found["prompt_tokens"], found["completion_tokens"])
        return found


def _param(asked: Asked) -> str:
    return "messages" if asked.chat else "prompt"


def _engine_error(error: Exception) -> ApiError:
    """A refusal of the request is the caller's; everything else (404: the adapter is not there yet) passes."""
    if isinstance(error, EngineRefused) and error.status not in (401, 403, 404):
        return bad_request(f"the engine refused the request: {error}")
    return unavailable("engine_unreachable", "the engine is starting, restarting or loading the version; try again")
