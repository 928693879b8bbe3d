"""Loads the route's adapters into one engine; an adapter is used only after it passed parity in that engine.

vLLM can answer 200 to a load and still serve the base model, and it loses every adapter when it restarts. So each load
checks the digest of the files, loads them and checks parity (`loraform_engine.parity`), and each reconcile compares the
route with the engine's list.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from loraform_api.artifact import ADAPTER_FILES, PARITY_FILE, adapter_digest
from loraform_api.heartbeat import AdapterState, LoadedAdapter, Route, RouteAdapter, adapter_name
from loraform_api.names import ENGINE_MODEL
from loraform_engine.client import Engine, EngineRefused, EngineUnreachable
from loraform_engine.parity import ParityFile, compare, read_logprob, requests

LOG = logging.getLogger(__name__)
UNLOAD_AFTER_SECONDS = 60
"""Seconds that an adapter stays loaded after it left the route: gateways may still use it, and streams must end."""


class NotServable(Exception):  # noqa: N818 (the cause is the name)
    """The adapter must not be served, and a retry cannot help."""


class AdapterLoader:
    """State of each adapter in one engine; only `reconcile`, called repeatedly, changes it."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._clock = engine, clock
        self._states: dict[str, LoadedAdapter] = {}
        self._left: dict[str, float] = {}
        """Time at which a loaded adapter was first seen outside the route, by name."""
        self.engine_up = False

    def states(self) -> list[LoadedAdapter]:
        """Return the state of every adapter of the route."""
        return list(self._states.values())

    def may_answer(self, name: str) -> bool:
        """Return whether the adapter named `name` passed parity in the running engine."""
        return any(adapter_name(s.digest) == name and s.state is AdapterState.READY for s in self._states.values())

    def ready(self, route: Route | None) -> bool:
        """Return whether this pod can answer: the live adapter is Ready or, without one, the engine is up."""
        if route is None or route.live is None:
            return self.engine_up
        return self.may_answer(adapter_name(route.live))

    async def reconcile(self, route: Route) -> None:
        """Load, check and unload adapters so that the engine matches `route`."""
        try:
            loaded = set(await self._engine.models()) - {ENGINE_MODEL}
        except (EngineUnreachable, EngineRefused) as error:
            self.engine_up = False
            # The engine may have restarted: what it had loaded and passed no longer counts.
            self._states = {a.digest: _state(a, AdapterState.LOADING, str(error)) for a in route.adapters}
            return
        self.engine_up = True
        for adapter in route.adapters:
            await self._ensure(adapter, loaded)
        await self._drop(route, loaded)

    async def _ensure(self, adapter: RouteAdapter, loaded: set[str]) -> None:
        name, known = adapter_name(adapter.digest), self._states.get(adapter.digest)
        self._left.pop(name, None)
        if known is not None and known.state is AdapterState.NOT_SERVABLE:
            return
        if known is not None and known.state is AdapterState.READY and name in loaded:
            return
        self._set(_state(adapter, AdapterState.LOADING))
        try:
            message = await self._load_and_check(adapter, name, is_loaded=name in loaded)
        except (NotServable, EngineRefused) as error:
            self._set(_state(adapter, AdapterState.NOT_SERVABLE, str(error)))
        except (EngineUnreachable, OSError) as error:
            self._set(_state(adapter, AdapterState.LOADING, str(error)))
        else:
            self._set(_state(adapter, AdapterState.READY, message))

    async def _load_and_check(self, adapter: RouteAdapter, name: str, *, is_loaded: bool) -> str:
        """Check the files, load them and compare the engine with the trainer; return the parity figures.

        Raises NotServable when files or parity are wrong.
        """
        folder = Path(adapter.path)
        parity = await asyncio.to_thread(check_files, folder, adapter)
        if not is_loaded:
            await self._engine.load(name, adapter.path)
        answers = []
        for row in parity.rows:
            try:
                answers.append([read_logprob(body, await self._engine.complete(body)) for body in requests(row, name)])
            except ValueError as error:
                raise NotServable(str(error)) from error
        result = compare(parity, answers)
        if not result.passed:
            await self._engine.unload(name)
            raise NotServable(result.message)
        return result.message

    async def _drop(self, route: Route, loaded: set[str]) -> None:
        wanted = {adapter_name(a.digest) for a in route.adapters}
        for name in loaded - wanted:
            if self._clock() - self._left.setdefault(name, self._clock()) < UNLOAD_AFTER_SECONDS:
                continue
            try:
                await self._engine.unload(name)
                LOG.info("unloaded %s", name)
            except (EngineUnreachable, EngineRefused) as error:
                LOG.warning("cannot unload %s: %s", name, error)
        kept = loaded | wanted
        self._left = {n: since for n, since in self._left.items() if n in loaded}
        self._states = {d: s for d, s in self._states.items() if adapter_name(d) in kept}

    def _set(self, state: LoadedAdapter) -> None:
        before = self._states.get(state.digest)
        if before is None or before.state is not state.state:
            LOG.info("%s is %s %s", adapter_name(state.digest), state.state, state.message)
        self._states[state.digest] = state


def check_files(folder: Path, adapter: RouteAdapter) -> ParityFile:
    """Return the parity rows of the artifact in `folder`.

    Raises NotServable when the files are not those of `adapter.digest`, and FileNotFoundError while they are missing:
    a volume may be mounted late.
    """
    sums = {}
    for name in ADAPTER_FILES:
        with (folder / name).open("rb") as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    digest = adapter_digest(sums)
    if digest != adapter.digest:
        raise NotServable(
            f"the files in {folder} have digest {digest[:16]}, expected {adapter.digest[:16]}: they were changed"
        )
    try:
        parity = ParityFile.model_validate_json((folder / PARITY_FILE).read_bytes())
    except ValidationError as error:
        raise NotServable(f"{folder / PARITY_FILE} is not a valid parity file: {error.error_count()} errors") from error
    if parity.template_hash != adapter.template_hash:
        raise NotServable(f"{folder / PARITY_FILE} was made with another prompt template than the version")
    return parity


def _state(adapter: RouteAdapter, state: AdapterState, message: str = "") -> LoadedAdapter:
    return LoadedAdapter(digest=adapter.digest, state=state, message=message[:512])
