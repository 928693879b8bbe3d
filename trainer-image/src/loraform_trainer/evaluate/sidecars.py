"""Opens the clients of engine and verifier of the stage's pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loraform_engine.client import Engine, engine_session
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.upstream import upstream_errors
from loraform_verifier.http.client import VerifierClient


@asynccontextmanager
async def open_engine(context: Context) -> AsyncIterator[Engine]:
    """Yield the engine once it is ready; its errors in the body, too, become StageErrors."""
    with upstream_errors():
        async with engine_session() as session:
            engine = Engine(session, context.engine_url)
            await engine.wait_until_healthy(context.sidecar_wait_seconds)
            yield engine


@asynccontextmanager
async def open_verifier(context: Context) -> AsyncIterator[VerifierClient]:
    """Yield the verifier once it is ready; its errors in the body, too, become StageErrors."""
    with upstream_errors():
        async with VerifierClient(context.verifier_url) as verifier:
            await verifier.wait_until_healthy(context.sidecar_wait_seconds)
            yield verifier
