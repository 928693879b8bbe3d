"""Parity and generation against a real vLLM, where one is on PATH (the CPU engine's image has it)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import torch

from loraform_api.heartbeat import adapter_name
from loraform_engine.parity import ParityFile
from loraform_trainer.evaluate.engine import Engine, wait_until

VLLM = shutil.which("vllm")
START_SECONDS = 600

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


async def test_parity_holds_also_while_others_generate(trained: Any, url: str) -> None:
    file = ParityFile.model_validate_json((trained.paths.adapter / "parity.json").read_text())
    name = adapter_name(trained.report().train.adapter_digest)
    async with aiohttp.ClientSession() as session:
        engine = Engine(session, url)
        await wait_until(engine.healthy, "vllm", START_SECONDS)
        assert await engine.max_length() == 512
        await engine.load(name, trained.paths.adapter)
        others = [
            asyncio.create_task(engine.generate(model, row.prompt_ids, max_tokens=64, stops=[1], seed=1))
            for row in file.rows
            for model in ("base", name)
        ]
        served = await engine.parity(name, file)
        answers = await asyncio.gather(*others)
        base = await engine.parity("base", file)
    assert served.passed, served.message
    assert served.max_difference < 1e-3
    assert not base.passed
    assert "answers as the base model" in base.message
    assert len(answers) == 2 * len(file.rows)
