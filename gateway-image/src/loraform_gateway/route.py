"""The route: what answers now. A mounted file for a cold start, then the operator's reply to each heartbeat.

The operator may be absent for as long as it likes: the last route stays in force. Nobody dials these pods.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from pydantic import ValidationError

from loraform_api import names
from loraform_api.heartbeat import HEARTBEAT_SECONDS, Heartbeat, Route, RouteAdapter

LOG = logging.getLogger(__name__)
TIMEOUT = aiohttp.ClientTimeout(total=5)
ROUTE_LIMIT = 1 << 20
"""Bytes that a reply may have."""

MakeHeartbeat = Callable[[str], Heartbeat]
"""From the revision of the route that is followed to what to tell the operator."""


@dataclass(frozen=True)
class Operator:
    """Where heartbeats go. Token and CA are read anew each time: both are replaced while the pod runs."""

    url: str
    ca_file: Path
    token_file: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Operator:
        """Read the three variables of the contract; KeyError names the one that is missing."""
        return cls(
            url=environment[names.ENV_HEARTBEAT_URL],
            ca_file=Path(environment[names.ENV_HEARTBEAT_CA]),
            token_file=Path(environment[names.ENV_HEARTBEAT_TOKEN]),
        )

    async def send(self, session: aiohttp.ClientSession, heartbeat: Heartbeat) -> Route:
        """Post `heartbeat` and return the route; OSError, aiohttp.ClientError or ValueError say why not."""
        trust = ssl.create_default_context(cafile=str(self.ca_file)) if self.url.startswith("https:") else False
        headers = {"Authorization": f"Bearer {self.token_file.read_text(encoding='utf-8').strip()}"}
        body = heartbeat.model_dump(mode="json", by_alias=True)
        async with session.post(self.url, json=body, headers=headers, ssl=trust, timeout=TIMEOUT) as reply:
            if reply.status != 200:
                raise ValueError(f"the operator answered {reply.status}")
            return Route.model_validate_json(await reply.content.read(ROUTE_LIMIT))


class RouteFollower:
    """Keeps the route up to date. `route` is None until one was read."""

    def __init__(self, file: Path, operator: Operator, heartbeat: MakeHeartbeat, period: float = HEARTBEAT_SECONDS):
        self.route = read_route(file)
        self.changed = asyncio.Event()
        """Set at each new route; whoever waits for it clears it."""
        self._operator, self._heartbeat, self._period = operator, heartbeat, period
        self._trouble = ""

    async def run(self) -> None:
        """Send heartbeats for ever."""
        async with aiohttp.ClientSession() as session:
            while True:
                await self.beat(session)
                await asyncio.sleep(self._period)

    async def beat(self, session: aiohttp.ClientSession) -> None:
        """Send one heartbeat and follow the reply; without one, keep what is there."""
        revision = self.route.revision if self.route else ""
        route, trouble = None, ""
        try:
            route = await self._operator.send(session, self._heartbeat(revision))
        except ValidationError:
            trouble = "its answer is not a route"
        except ValueError as error:
            trouble = str(error)
        except (OSError, aiohttp.ClientError) as error:  # TimeoutError among them
            trouble = type(error).__name__  # the text differs each time: one line for one trouble
        self._note(trouble)
        if route is not None and route != self.route:
            LOG.info("route %s: live %s, %d adapters", route.revision, (route.live or "none")[:16], len(route.adapters))
            self.route = route
            self.changed.set()

    def _note(self, trouble: str) -> None:
        """Log when the operator falls silent, changes its complaint, or is back."""
        if trouble and trouble != self._trouble:
            LOG.warning("no route from the operator, keeping the last: %s", trouble)
        elif self._trouble and not trouble:
            LOG.info("the operator answers")
        self._trouble = trouble


def live_adapter(route: Route | None) -> RouteAdapter | None:
    """Return the adapter that answers, or None while none does."""
    return next((a for a in route.adapters if a.digest == route.live), None) if route else None


def read_route(file: Path) -> Route | None:
    """Return the mounted route, or None when there is none that can be read."""
    try:
        return Route.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        LOG.warning("no route in %s yet (%s)", file, type(error).__name__)
        return None
