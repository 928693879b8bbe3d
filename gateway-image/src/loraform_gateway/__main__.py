"""`python -m loraform_gateway {gateway,agent}`: starts a serving pod's process from its environment."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path

from aiohttp import web

from loraform_api import names
from loraform_engine.client import Engine, engine_session
from loraform_gateway.agent import Agent
from loraform_gateway.answering import Answerer
from loraform_gateway.front import Front
from loraform_gateway.listening import listening_socket
from loraform_gateway.metrics import Metrics
from loraform_gateway.route import Operator, RouteFollower
from loraform_verifier.http.client import VerifierClient

SHUTDOWN_SECONDS = 20
"""Time for requests in flight after SIGTERM."""
VERIFY_SECONDS = 120
"""Longest verification of one answer, including the verifier's queue."""
ENVIRONMENT = (names.ENV_HEARTBEAT_URL, names.ENV_HEARTBEAT_CA, names.ENV_HEARTBEAT_TOKEN, names.ENV_POD_NAME)
LOOPBACK = "http://127.0.0.1"


def parser() -> argparse.ArgumentParser:
    """Return the argument parser."""
    top = argparse.ArgumentParser(
        prog="loraform_gateway",
        description=f"Serve an IaCModel. The environment names operator and pod: {', '.join(ENVIRONMENT)}.",
    )
    roles = top.add_subparsers(dest="role", required=True)
    front = roles.add_parser("gateway", help="serve OpenAI's API with verified Terraform")
    front.add_argument(
        "--engine",
        default=os.environ.get(names.ENV_ENGINE_URL),
        required=names.ENV_ENGINE_URL not in os.environ,
        help=f"URL of the engine's agent (default: ${names.ENV_ENGINE_URL})",
    )
    front.add_argument("--verifier", default=f"{LOOPBACK}:{names.PORT_VERIFIER}", help="URL of the verifier")
    front.add_argument("--max-in-flight", type=int, default=32, help="requests in flight before 429 (default: 32)")
    agent_role = roles.add_parser("agent", help="protect one engine and load its adapters")
    agent_role.add_argument("--engine", default=f"{LOOPBACK}:{names.PORT_ENGINE}", help="URL of the engine")
    for role, port in ((front, names.PORT_GATEWAY), (agent_role, names.PORT_AGENT)):
        role.add_argument("--host", help="address to listen on (default: all, IPv4 and IPv6)")
        role.add_argument("--port", type=int, default=port, help=f"port to listen on (default: {port})")
        role.add_argument(
            "--route",
            type=Path,
            default=Path(names.ROUTE_DIR) / names.ROUTE_FILE,
            help="file with the route at the start (default: %(default)s)",
        )
    return top


async def agent(args: argparse.Namespace, operator: Operator, pod: str) -> None:
    """Run the agent until SIGTERM."""
    async with engine_session() as session:
        agent = Agent(session, args.engine)
        follower = RouteFollower(args.route, operator, lambda revision: agent.heartbeat(pod, revision))
        await _serve(agent.application(follower), args)


async def gateway(args: argparse.Namespace, operator: Operator, pod: str) -> None:
    """Run the gateway until SIGTERM."""
    metrics = Metrics()
    async with engine_session() as session, VerifierClient(args.verifier, seconds=VERIFY_SECONDS) as verifier:
        answerer = Answerer(Engine(session, args.engine), verifier.verify, metrics)
        front = Front(answerer, metrics, verifier.healthy, args.max_in_flight)
        follower = RouteFollower(args.route, operator, lambda revision: front.heartbeat(pod, revision))
        await _serve(front.application(follower), args)


async def _serve(app: web.Application, args: argparse.Namespace) -> None:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    await web.SockSite(runner, listening_socket(args.host, args.port)).start()
    logging.getLogger(__name__).info("listening on port %d of %s", args.port, args.host or "all addresses")
    await _until_stopped()
    await runner.cleanup()


async def _until_stopped() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def main() -> None:
    """Run the command line."""
    args = parser().parse_args()
    missing = [name for name in ENVIRONMENT if not os.environ.get(name)]
    if missing:
        parser().error(f"missing environment variables: {', '.join(missing)}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    role = agent if args.role == "agent" else gateway
    asyncio.run(role(args, Operator.from_environment(), os.environ[names.ENV_POD_NAME]))


if __name__ == "__main__":
    main()
