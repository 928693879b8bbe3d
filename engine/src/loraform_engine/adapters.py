"""Loads the route's adapters into one engine; an adapter is used only after it passed parity in that engine.

vLLM can answer 200 to a load and still serve the base model, and it loses every adapter when it restarts. So each load
is proved (`loraform_engine.proof`), and each reconcile compares the route with the engine's list: an adapter that
stands in it was loaded by this agent into this very process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from loraform_api.heartbeat import AdapterState, LoadedAdapter, Route, RouteAdapter, adapter_name
from loraform_api.names import ENGINE_MODEL
from loraform_engine.client import Engine
from loraform_engine.errors import EngineRefused, EngineUnreachable, NotServable
from loraform_engine.proof import AdapterFiles, load_and_prove

LOG = logging.getLogger(__name__)
UNLOAD_AFTER_SECONDS = 60
"""Seconds that an adapter stays loaded after it left the route: gateways may still use it, and streams must end."""
MISSED_LOOKS = 3
"""Looks at the engine's list that fail one after the other until the engine counts as down."""


class AdapterLoader:
    """State of each adapter in one engine; only `reconcile`, called repeatedly, changes it."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._clock = engine, clock
        self._states: dict[str, LoadedAdapter] = {}
        self._proved: dict[str, str] = {}
        """Figures of the parity check that an adapter passed in the running engine, by name."""
        self._left: dict[str, float] = {}
        """Time at which a loaded adapter was first seen outside the route, by name."""
        self._missed = MISSED_LOOKS

    @property
    def engine_up(self) -> bool:
        """Whether the engine answers; one missed look is no proof that it does not."""
        return self._missed < MISSED_LOOKS

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
            self._miss(route, str(error))
            return
        self._missed = 0
        self._proved = {name: figures for name, figures in self._proved.items() if name in loaded}
        for adapter in route.adapters:
            await self._ensure(adapter)
        await self._drop(route, loaded)

    def _miss(self, route: Route, message: str) -> None:
        self._missed += 1
        if self._missed <= MISSED_LOOKS:
            LOG.warning("missed look %d at the engine: %s", self._missed, message)
        if not self.engine_up:
            self._states = {a.digest: _state(a, AdapterState.LOADING, message) for a in route.adapters}

    async def _ensure(self, adapter: RouteAdapter) -> None:
        name, known = adapter_name(adapter.digest), self._states.get(adapter.digest)
        self._left.pop(name, None)
        if known is not None and known.state is AdapterState.NOT_SERVABLE:
            return
        if name not in self._proved:
            self._set(_state(adapter, AdapterState.LOADING, known.message if known else ""))
            files = AdapterFiles(adapter.digest, Path(adapter.path), adapter.template_hash)
            try:
                self._proved[name] = (await load_and_prove(self._engine, files)).message
            except NotServable as error:
                self._set(_state(adapter, AdapterState.NOT_SERVABLE, str(error)))
                return
            except (EngineUnreachable, OSError) as error:
                self._set(_state(adapter, AdapterState.LOADING, str(error)))
                return
        self._set(_state(adapter, AdapterState.READY, self._proved[name]))

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
        if before is None or (before.state, before.message) != (state.state, state.message):
            LOG.info("%s is %s %s", adapter_name(state.digest), state.state, state.message)
        self._states[state.digest] = state


def _state(adapter: RouteAdapter, state: AdapterState, message: str = "") -> LoadedAdapter:
    return LoadedAdapter(digest=adapter.digest, state=state, message=message[:512])
