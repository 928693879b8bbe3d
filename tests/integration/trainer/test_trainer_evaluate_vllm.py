"""Parity, loads and refusals of a real vLLM, where one is on PATH (the CPU engine's image has it)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loraform_api.artifact import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PARITY_FILE
from loraform_engine.client import Engine, completion, engine_session
from loraform_engine.errors import EngineRefused, NotServable
from loraform_engine.parity import ParityFile
from loraform_engine.proof import AdapterFiles, adapter_folder_digest, load_and_prove
from loraform_engine.sampling import Sampling
from loraform_engine.version import check_version
from loraform_trainer.runtime import tokens

VLLM = os.environ.get("LORAFORM_VLLM") or shutil.which("vllm")
START_SECONDS = 600
LONG_ANSWER = 300
"""Tokens that are decoded while adapters are loaded."""

pytestmark = [pytest.mark.vllm, pytest.mark.skipif(VLLM is None, reason="no vllm on PATH")]


@pytest.fixture
def trained(pod: Any, stage: Callable[..., int]) -> Any:
    torch.set_num_threads(1)
    pod.config["spec"]["training"] |= {"epochs": 4, "learningRate": "2e-2"}
    assert stage("prepare") == 0
    assert stage("train") == 0
    return pod


@pytest.fixture
def url(trained: Any, tmp_path: Path) -> Iterator[str]:
    """vLLM with the flags that the operator renders, serving the run's base."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(VLLM), "serve", str(trained.paths.base), "--served-model-name", "base", "--dtype", "float32",
        "--enable-lora", "--max-lora-rank", "16", "--max-loras", "2", "--generation-config", "vllm",
        "--host", "127.0.0.1", "--port", str(port), "--enforce-eager",
    ]  # fmt: skip
    environment = {
        **os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1", "HOME": str(tmp_path), "PATH": f"{Path(str(VLLM)).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    log = tmp_path / "vllm.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        yield f"http://127.0.0.1:{port}"
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@pytest.fixture
async def engine(url: str) -> AsyncIterator[Engine]:
    async with engine_session() as session:
        engine = Engine(session, url)
        await engine.wait_until_healthy(START_SECONDS)
        yield engine


def files_of(folder: Path, base: Path) -> AdapterFiles:
    return AdapterFiles(adapter_folder_digest(folder), folder, tokens.load(base).template_hash)


def changed(source: Path, target: Path, *, rank: int | None = None, scale: float = 1.0) -> Path:
    """Write another adapter: its weights times `scale`, or filled up with zeros to `rank`."""
    shutil.copytree(source, target)
    weights = load_file(target / ADAPTER_WEIGHTS)
    if rank is not None:
        config = json.loads((target / ADAPTER_CONFIG).read_text())
        (target / ADAPTER_CONFIG).write_text(json.dumps(config | {"r": rank}))
        for name, tensor in weights.items():
            shape = (rank, tensor.shape[1]) if "lora_A" in name else (tensor.shape[0], rank)
            weights[name] = torch.zeros(shape)
    save_file({name: tensor * scale for name, tensor in weights.items()}, target / ADAPTER_WEIGHTS)
    return target


async def test_a_real_engine_keeps_what_we_build_on(trained: Any, engine: Engine, tmp_path: Path) -> None:
    """Steps in one test, because a vLLM takes a minute to start."""
    files = files_of(trained.paths.adapter, trained.paths.base)
    check_version(await engine.version())
    assert await engine.max_length() == 512
    await _parity_holds_also_while_others_generate(engine, files)
    await _the_base_has_no_parity(engine, files)
    await _running_answers_are_not_changed_by_loads(engine, files, tmp_path)
    await _refused_adapters_are_no_outage(engine, files, tmp_path)


async def _parity_holds_also_while_others_generate(engine: Engine, files: AdapterFiles) -> None:
    await engine.load(files.model, str(files.folder))
    await engine.load(files.model, str(files.folder))  # vLLM refuses it, we look first
    rows = ParityFile.model_validate_json((files.folder / PARITY_FILE).read_text()).rows
    bodies = [
        completion(model, row.prompt_ids, max_tokens=64, stops=[1], sampling=Sampling(seed=1))
        for row in rows
        for model in ("base", files.model)
    ]
    others = asyncio.gather(*map(engine.complete, bodies))
    served = await load_and_prove(engine, files)
    assert served.max_difference < 1e-3
    assert len(await others) == 2 * len(rows)


async def _the_base_has_no_parity(engine: Engine, files: AdapterFiles) -> None:
    with pytest.raises(NotServable, match="answers as the base model"):
        await load_and_prove(engine, replace(files, merged=True))


async def _running_answers_are_not_changed_by_loads(engine: Engine, files: AdapterFiles, folder: Path) -> None:
    """Older vLLMs gave the slot of a decoding adapter to the one that was loaded."""
    other = changed(files.folder, folder / "other", scale=1.5)
    await engine.load("other", str(other))
    rows = ParityFile.model_validate_json((files.folder / PARITY_FILE).read_text()).rows
    body = completion(files.model, rows[0].prompt_ids, max_tokens=LONG_ANSWER, stops=[], sampling=Sampling(seed=1))
    alone = {model: await _streamed(engine, {**body, "model": model}) for model in (files.model, "other")}
    assert alone[files.model] != alone["other"]
    started = [asyncio.Event(), asyncio.Event()]
    running = [
        asyncio.create_task(_streamed(engine, {**body, "model": model}, event))
        for model, event in zip(alone, started, strict=True)
    ]
    await asyncio.gather(*(event.wait() for event in started))
    loads = 0
    while not all(task.done() for task in running):
        await engine.load(f"late-{loads}", str(changed(files.folder, folder / f"late-{loads}", scale=-1.0 - loads)))
        loads += 1
    assert loads > 2, "adapters must be loaded while the two decode"
    assert dict(zip(alone, [await task for task in running], strict=True)) == alone


async def _streamed(engine: Engine, body: dict[str, Any], started: asyncio.Event | None = None) -> str:
    text = ""
    async for event in engine.stream(body):
        text += "".join(choice["text"] for choice in event["choices"])
        if started is not None:
            started.set()
    return text


async def _refused_adapters_are_no_outage(engine: Engine, files: AdapterFiles, folder: Path) -> None:
    wide = changed(files.folder, folder / "wide", rank=64)
    with pytest.raises(EngineRefused, match="LoRA rank 64 is greater than max_lora_rank 16"):
        await engine.load("wide", str(wide))
    with pytest.raises(NotServable, match="LoRA rank 64 is greater than max_lora_rank 16"):
        await load_and_prove(engine, replace(files, digest=adapter_folder_digest(wide), folder=wide))
    with pytest.raises(EngineRefused):
        await engine.load("absent", str(folder / "absent"))
    with pytest.raises(EngineRefused, match="does not exist"):
        await engine.complete(completion("absent", [5], max_tokens=1, stops=[1]))
    assert await engine.healthy()
