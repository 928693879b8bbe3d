"""`python -m loraform_gateway {gateway,agent}`: starts a serving pod's process from its environment."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from loraform_api import names
from loraform_engine.client import Engine, engine_session
from loraform_gateway.admission import Admission
from loraform_gateway.agent import Agent
from loraform_gateway.answering import Answerer
from loraform_gateway.cors import CrossOrigin
from loraform_gateway.front import Front
from loraform_gateway.keys import Authenticator, KeyFile
from loraform_gateway.limits import Limits
from loraform_gateway.listening import listening_socket, serving
from loraform_gateway.metrics import Metrics
from loraform_gateway.route import Operator, RouteFollower
from loraform_gateway.tls import Certificate
from loraform_verifier.http.client import VerifierClient

ENVIRONMENT = (names.ENV_ENDPOINT, names.ENV_TOKEN, names.ENV_POD_NAME)
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
    _add_admission(front)
    agent_role = roles.add_parser("agent", help="protect one engine and load its adapters")
    agent_role.add_argument("--engine", default=f"{LOOPBACK}:{names.PORT_ENGINE}", help="URL of the engine")
    for role, port in ((front, names.PORT_GATEWAY), (agent_role, names.PORT_AGENT)):
        role.add_argument("--host", help="address to listen on (default: all, IPv4 and IPv6)")
        role.add_argument("--port", type=int, default=port, help=f"port to listen on (default: {port})")
        role.add_argument(
            "--metrics-port", type=int, default=names.PORT_METRICS, help="port of /metrics (default: %(default)s)"
        )
        role.add_argument(
            "--route",
            type=Path,
            default=Path(names.ROUTE_DIR) / names.ROUTE_FILE,
            help="file with the route at the start (default: %(default)s)",
        )
    return top


def _add_admission(front: argparse.ArgumentParser) -> None:
    add = front.add_argument
    add("--requests-in-flight", type=int, required=True, help="most requests in flight of one API key")
    add("--tokens-in-flight", type=int, required=True, help="most tokens in flight of one API key")
    add("--api-keys", type=Path, help="file with a line `name:sha256` for each API key (default: no key is asked for)")
    add("--tls", type=Path, help=f"folder with {names.TLS_CERTIFICATE} and {names.TLS_KEY} (default: plain HTTP)")
    add("--cors-origin", action="append", default=[], help="origin of web pages that may ask; `*` for all")


async def agent(args: argparse.Namespace, operator: Operator, pod: str) -> None:
    """Run the agent until SIGTERM."""
    async with engine_session() as session:
        agent = Agent(session, args.engine)
        follower = RouteFollower(args.route, operator, lambda revision: agent.heartbeat(pod, revision))
        await _serve(agent.application(follower), agent.metrics_application(), args)


async def gateway(args: argparse.Namespace, operator: Operator, pod: str) -> None:
    """Run the gateway until SIGTERM."""
    metrics = Metrics()
    async with engine_session() as session, VerifierClient(args.verifier) as verifier:
        answerer = Answerer(Engine(session, args.engine), verifier.verify, metrics)
        certificate = Certificate(args.tls) if args.tls else None
        admission = Admission(
            authenticator=Authenticator(KeyFile(args.api_keys) if args.api_keys else None),
            cross_origin=CrossOrigin(args.cors_origin),
            limits=Limits(requests=args.requests_in_flight, tokens=args.tokens_in_flight),
            metrics=metrics,
            certificate=certificate,
        )
        front = Front(answerer, metrics, verifier.healthy, admission)
        follower = RouteFollower(args.route, operator, lambda revision: front.heartbeat(pod, revision))
        await _serve(front.application(follower), metrics.application(), args, certificate)


async def _serve(
    app: web.Application, metrics: web.Application, args: argparse.Namespace, certificate: Certificate | None = None
) -> None:
    async with AsyncExitStack() as stack:
        if certificate is not None:
            following = asyncio.create_task(certificate.follow())
            stack.callback(following.cancel)
        context = certificate.context if certificate else None
        await stack.enter_async_context(serving(metrics, listening_socket(args.host, args.metrics_port)))
        await stack.enter_async_context(serving(app, listening_socket(args.host, args.port), context))
        logging.getLogger(__name__).info("listening on port %d of %s", args.port, args.host or "all addresses")
        await _until_stopped()


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
