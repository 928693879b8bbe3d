"""Loads an adapter into an engine and proves that the engine serves it: right files, right version, parity."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loraform_api.artifact import ADAPTER_FILES, PARITY_FILE, adapter_digest
from loraform_api.heartbeat import adapter_name
from loraform_api.names import ENGINE_MODEL
from loraform_engine.client import Engine
from loraform_engine.errors import EngineRefused, EngineUnreachable, NotServable
from loraform_engine.parity import ParityFile, ParityResult, compare, read_logprob, requests
from loraform_engine.tasks import run_concurrently
from loraform_engine.version import check_version

CONCURRENCY = 16
"""Parity requests in flight."""


@dataclass(frozen=True)
class AdapterFiles:
    """The adapter to load."""

    digest: str
    folder: Path
    template_hash: str
    """Of the prompts that the adapter answers."""
    merged: bool = False
    """The adapter is part of the engine's own model, so that it is proved but not loaded."""

    @property
    def model(self) -> str:
        """The adapter's name in the engine."""
        return ENGINE_MODEL if self.merged else adapter_name(self.digest)


async def load_and_prove(engine: Engine, files: AdapterFiles) -> ParityResult:
    """Check the files, load them unless they are loaded, and compare the engine with the trainer; return the figures.

    Raises NotServable, EngineUnreachable, and OSError for absent files. An adapter that fails is unloaded.
    """
    parity = await asyncio.to_thread(check_files, files)
    try:
        check_version(await engine.version())
        if not files.merged:
            await engine.load(files.model, str(files.folder))
        result = compare(parity, await _logprobs(engine, files.model, parity))
    except EngineRefused as error:
        raise NotServable(str(error)) from error
    if not result.passed:
        with contextlib.suppress(EngineRefused):
            if not files.merged:
                await engine.unload(files.model)
        raise NotServable(result.message)
    return result


def check_files(files: AdapterFiles) -> ParityFile:
    """Return the parity rows of the artifact.

    Raises NotServable when the files are not those of the digest, and FileNotFoundError while they are missing:
    a volume may be mounted late.
    """
    digest, path = adapter_folder_digest(files.folder), files.folder / PARITY_FILE
    if digest != files.digest:
        raise NotServable(
            f"the files in {files.folder} have digest {digest[:16]}, expected {files.digest[:16]}: they were changed"
        )
    try:
        parity = ParityFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise NotServable(f"{path} is not a valid parity file: {error.error_count()} errors") from error
    if parity.template_hash != files.template_hash:
        raise NotServable(f"{path} was made with another prompt template than the version")
    return parity


def adapter_folder_digest(folder: Path) -> str:
    """Return the digest of the adapter files in `folder`; raises OSError when one is absent."""
    sums = {}
    for name in ADAPTER_FILES:
        with (folder / name).open("rb") as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return adapter_digest(sums)


async def _logprobs(engine: Engine, model: str, parity: ParityFile) -> list[list[float]]:
    """Return the engine's log-probabilities of each row."""
    slots = asyncio.Semaphore(CONCURRENCY)

    async def logprob(body: dict[str, Any]) -> float:
        try:
            async with slots:
                answer = await engine.complete(body)
            return read_logprob(body, answer)
        except EngineRefused as error:
            if error.status != 404:
                raise
            raise EngineUnreachable(f"the engine lost the adapter while it was checked: {error}") from error
        except ValueError as error:
            raise NotServable(str(error)) from error

    bodies = [requests(row, model) for row in parity.rows]
    values = iter(await run_concurrently(logprob(body) for row in bodies for body in row))
    return [[next(values) for _ in row] for row in bodies]
