"""The route: which adapters to load, and which one answers.

It is read from a mounted file at the start, then from the operator's response to each heartbeat. While the operator
does not answer, the last route stays in force.
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
from loraform_api.endpoint import OperatorEndpoint
from loraform_api.heartbeat import HEARTBEAT_SECONDS, Heartbeat, Route, RouteAdapter

LOG = logging.getLogger(__name__)
TIMEOUT = aiohttp.ClientTimeout(total=5)
ROUTE_LIMIT = 1 << 20
"""Most bytes of a response."""

MakeHeartbeat = Callable[[str], Heartbeat]
"""Function from the followed route's revision to the heartbeat to send."""


@dataclass(frozen=True)
class Operator:
    """Endpoint for heartbeats. Both files are read for each request: they change while the pod runs."""

    endpoint_file: Path
    token_file: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Operator:
        """Read the two environment variables; raises KeyError that names a missing one."""
        return cls(Path(environment[names.ENV_ENDPOINT]), Path(environment[names.ENV_TOKEN]))

    async def send(self, session: aiohttp.ClientSession, heartbeat: Heartbeat) -> Route:
        """Post `heartbeat` and return the route; raises OSError, aiohttp.ClientError or ValueError."""
        endpoint = self._endpoint()
        async with session.post(
            endpoint.url,
            json=heartbeat.model_dump(mode="json", by_alias=True),
            headers={"Authorization": f"Bearer {self.token_file.read_text(encoding='utf-8').strip()}"},
            ssl=ssl.create_default_context(cadata=endpoint.ca),
            server_hostname=endpoint.server_name,
            allow_redirects=False,
            timeout=TIMEOUT,
        ) as reply:
            if reply.status != 200:
                raise ValueError(f"the operator answered {reply.status}")
            return Route.model_validate_json(await reply.content.read(ROUTE_LIMIT))

    def _endpoint(self) -> OperatorEndpoint:
        try:
            return OperatorEndpoint.model_validate_json(self.endpoint_file.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{self.endpoint_file} does not name the operator's endpoint") from error


class RouteFollower:
    """Keeps `route` up to date; it is None until one was read."""

    def __init__(self, file: Path, operator: Operator, heartbeat: MakeHeartbeat, period: float = HEARTBEAT_SECONDS):
        self.route = read_route(file)
        self.changed = asyncio.Event()
        """Set at each new route; the waiting task clears it."""
        self._operator, self._heartbeat, self._period = operator, heartbeat, period
        self._error = ""

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                await self.beat(session)
                await asyncio.sleep(self._period)

    async def beat(self, session: aiohttp.ClientSession) -> None:
        """Send one heartbeat and take the route from the response; keep the present route without one."""
        revision = self.route.revision if self.route else ""
        route, message = None, ""
        try:
            route = await self._operator.send(session, self._heartbeat(revision))
        except ValidationError:
            message = "the response is not a route"
        except ValueError as error:
            message = str(error)
        except (OSError, aiohttp.ClientError) as error:  # TimeoutError among them
            message = type(error).__name__  # the text differs each time, so it would be logged each time
        self._log(message)
        if route is not None and route != self.route:
            LOG.info("route %s: live %s, %d adapters", route.revision, (route.live or "none")[:16], len(route.adapters))
            self.route = route
            self.changed.set()

    def _log(self, message: str) -> None:
        """Log a new error of the operator, and its end."""
        if message and message != self._error:
            LOG.warning("no route from the operator, keeping the last one: %s", message)
        elif self._error and not message:
            LOG.info("the operator answers again")
        self._error = message


def live_adapter(route: Route | None) -> RouteAdapter | None:
    """Return the live adapter; None while there is none."""
    return next((a for a in route.adapters if a.digest == route.live), None) if route else None


def read_route(file: Path) -> Route | None:
    """Return the mounted route; None when the file is missing or invalid."""
    try:
        return Route.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        LOG.warning("no route in %s yet (%s)", file, type(error).__name__)
        return None
