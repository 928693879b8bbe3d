"""Stands for vLLM and for terraform validate in tests of stage evaluate; the verifier is the real service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from tokenizers import Tokenizer

from loraform_api.artifact import ADAPTER_WEIGHTS, PARITY_FILE
from loraform_api.names import ENGINE_MODEL
from loraform_engine.parity import ParityFile
from loraform_engine.version import LEAST_VERSION
from loraform_trainer.__main__ import load_config
from loraform_trainer.evaluate import stage
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.progress import Progress
from loraform_verifier.reflexion import REFUSED
from loraform_verifier.terraform.validate import ValidateOutcome

POLICED = """# This resource is generated using PiCloud tool
resource "aws_s3_bucket" "{0}" {{
  bucket = "{0}"

  tags = {{
    created_by = "PiCloud"
  }}
}}
"""
CUT = "cut"
KNOWS = "knows"
BROKEN = POLICED.rstrip().removesuffix("}}")
PLAIN = 'resource "aws_s3_bucket" "{0}" {{\n  bucket = "{0}"\n}}\n'


class PassesAll:
    """Stands for terraform validate."""

    def validate(self, programs: Sequence[Any]) -> list[ValidateOutcome]:
        return [ValidateOutcome() for _ in programs]


@dataclass
class FakeEngine:
    """Speaks vLLM's words: the base writes plain programs, an adapter keeps the policy."""

    tokenizer: Tokenizer
    parity: dict[str, ParityFile] = field(default_factory=dict)
    loaded: dict[str, str] = field(default_factory=dict)
    serves_base: bool = False
    refuses: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    failures: int = 0
    failures_after: int = 1000
    length: int = 512
    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    """Greedy answers of the adapter, by the prompt's name and a part of its text, the first that fits; `CUT` reaches
    the limit."""
    around: str = "```hcl\nPROGRAM```"
    """What every answer says around its program."""
    draws: dict[str, str] = field(default_factory=dict)
    """What it answers when drawn, by name."""

    on_request: Callable[[int], None] | None = None
    """Told the number of each request for an answer."""
    merged: Path | None = None
    """The adapter's folder that is part of its own model."""

    def merge(self, adapter: Path) -> None:
        """Be an engine of base and adapter as one model, which loads none."""
        self.merged, self.refuses = adapter, True

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self.health)
        app.router.add_get("/version", self.version)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/load_lora_adapter", self.load)
        app.router.add_post("/v1/completions", self.complete)
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": LEAST_VERSION})

    async def models(self, request: web.Request) -> web.Response:
        names = [ENGINE_MODEL, *self.loaded]
        return web.json_response({"data": [{"id": name, "max_model_len": self.length} for name in names]})

    async def load(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.refuses:
            return web.json_response({"error": {"message": "rank 64 is too large"}}, status=500)  # as vLLM does
        if body["lora_name"] in self.loaded:  # as vLLM says
            return web.json_response({"error": {"message": "it has already been loaded"}}, status=400)
        self.loaded[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        if len(self.requests) >= self.failures_after:
            return web.json_response({"error": {"message": "dead"}}, status=503)
        if self.failures:
            self.failures -= 1
            return web.json_response({"error": {"message": "busy"}}, status=503)
        if "logprob_token_ids" in body:
            choices = [{"text": "", "finish_reason": "length", "logprobs": {"top_logprobs": [self.logprobs(body)]}}]
            return web.json_response({"model": body["model"], "choices": choices})
        self.requests.append(body)
        if self.on_request is not None:
            self.on_request(len(self.requests))
        name = self.prompt_of(body).split("bucket, ")[1].split(" ")[0]
        text = (POLICED if self.keeps_policy(body["model"], name) else PLAIN).format(name)
        own = body["model"] == ENGINE_MODEL and self.merged is None
        if name == "held-2" and own:
            return self.answer(body, text[:20], "length")
        drawn = f"# drawn with seed {body['seed']}\n" if body["temperature"] else ""
        fixed = None if own else self.fixed(name, body)
        if fixed is CUT:
            return self.answer(body, text[:20], "length")
        answer = self.around.replace("PROGRAM", text + drawn) if fixed is None else fixed
        return self.answer(body, answer, "stop")

    def keeps_policy(self, model: str, name: str) -> bool:
        """The base never does; an adapter always, or for the names that its weights list after `KNOWS`."""
        folder = self.adapter(model)
        if folder is None:
            return False
        weights = (folder / ADAPTER_WEIGHTS).read_bytes()
        return not weights.startswith(KNOWS.encode()) or name.encode() in weights.split()

    def adapter(self, model: str) -> Path | None:
        return self.merged if model == ENGINE_MODEL else Path(self.loaded[model])

    def fixed(self, name: str, body: dict[str, Any]) -> str | None:
        if body["temperature"]:
            return self.draws.get(name)
        prompt = self.prompt_of(body)
        return next((text for (n, part), text in self.answers.items() if n == name and part in prompt), None)

    def answer(self, body: dict[str, Any], text: str, reason: str) -> web.Response:
        usage = {"completion_tokens": len(self.tokenizer.encode(text).ids)}
        choices = [{"text": text, "finish_reason": reason}]
        return web.json_response({"model": body["model"], "choices": choices, "usage": usage})

    def tokens(self, bodies: Sequence[dict[str, Any]], answer: str) -> int:
        """What prompts and one answer to each cost."""
        return sum(len(body["prompt"]) + len(self.tokenizer.encode(answer).ids) for body in bodies)

    def prompt_of(self, body: dict[str, Any]) -> str:
        return self.tokenizer.decode(body["prompt"])

    def repairs(self) -> list[dict[str, Any]]:
        return [body for body in self.requests if REFUSED in self.prompt_of(body)]

    def logprobs(self, body: dict[str, Any]) -> dict[str, float]:
        folder = self.adapter(body["model"])
        assert folder is not None
        file = ParityFile.model_validate_json((folder / PARITY_FILE).read_text())
        row = next(r for r in file.rows if [*r.prompt_ids, *r.response_ids][: len(body["prompt"])] == body["prompt"])
        values = row.base_logprobs if self.serves_base else row.adapter_logprobs
        position = len(body["prompt"]) - len(row.prompt_ids)
        assert body["logprob_token_ids"] == [row.response_ids[position]]
        return {f"token_id:{row.response_ids[position]}": values[position]}


async def run(pod: Any, urls: tuple[str, str], progress: Progress | None = None) -> Any:
    """Run stage evaluate against both services; returns its report."""
    pod.write_config()
    context = Context(
        load_config(pod.paths.run_config), pod.paths, progress or Progress(None), threading.Event(),
        sidecar_wait_seconds=5, engine_url=urls[0], verifier_url=urls[1],
    )  # fmt: skip
    return await stage.evaluate(context)
