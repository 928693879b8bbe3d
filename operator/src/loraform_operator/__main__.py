"""Starts the operator: `python -m loraform_operator --config FILE`, in a pod or with `--kubeconfig`."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import os
import re
import socket
import sys
import uuid
from pathlib import Path

import kopf

from loraform_api.names import PORT_METRICS, PORT_OPERATOR, SERVICE_OPERATOR
from loraform_operator import handlers, logs
from loraform_operator.app import App, Options
from loraform_operator.leadership.lease import SHORTEST_SECONDS
from loraform_operator.settings import SettingsError, load_settings

NAME = "[a-z]([-a-z0-9]{0,56}[a-z0-9])?"
"""Names of the operator's objects; `-tls` is appended to it."""
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def _ip(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a DNS label of at most 58 characters")
    return text


def _lease_seconds(text: str) -> int:
    seconds = int(text)
    if seconds < SHORTEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{seconds} must be at least {SHORTEST_SECONDS}")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loraform-operator", description="The Loraform operator.")
    add = parser.add_argument
    add("--config", type=Path, required=True, metavar="FILE", help="YAML file with images and profiles")
    add("--kubeconfig", metavar="FILE", help="kubeconfig file (default: $KUBECONFIG, else the pod's service account)")
    add(
        "--namespace", action="append", default=[], metavar="NAME", help="namespace to watch; repeatable (default: all)"
    )
    add(
        "--operator-namespace",
        metavar="NAME",
        help="namespace of the operator's Lease, Service and Secret (default: the pod's)",
    )
    add(
        "--name",
        type=_name,
        default=SERVICE_OPERATOR,
        help="name of the Lease and the Service; operators that share it replace each other (default: %(default)s)",
    )
    add(
        "--lease-seconds",
        type=_lease_seconds,
        default=15,
        metavar="N",
        help="another operator takes over after so many seconds without a sign of the leader (default: %(default)s)",
    )
    add(
        "--advertise-address",
        type=_ip,
        metavar="IP",
        help="IP address at which pods reach this process (default: $POD_IP)",
    )
    add("--endpoint-port", type=int, default=PORT_OPERATOR, metavar="PORT", help="HTTPS port for pods")
    add("--metrics-port", type=int, default=PORT_METRICS, metavar="PORT", help="port of /metrics, /healthz and /readyz")
    add("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


def _options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Options:
    namespace = args.operator_namespace or (OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.exists() else None)
    address = args.advertise_address or os.environ.get("POD_IP")
    if not namespace:
        parser.error("--operator-namespace is required outside a pod")
    if not address:
        parser.error("--advertise-address is required when POD_IP is not set")
    return Options(
        operator_namespace=namespace,
        advertise_address=_ip(address),
        in_pod=args.advertise_address is None,
        name=args.name,
        identity=f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}",
        lease_seconds=args.lease_seconds,
        namespaces=tuple(args.namespace),
        kubeconfig=args.kubeconfig or os.environ.get("KUBECONFIG"),
        endpoint_port=args.endpoint_port,
        metrics_port=args.metrics_port,
    )


async def run(app: App) -> None:
    """Run the operator until a signal stops it."""
    await kopf.operator(
        registry=kopf.get_default_registry(),
        memo=kopf.Memo(app=app),  # kopf copies the memo per object, but not the app in it
        standalone=True,
        clusterwide=not app.namespaced,
        namespaces=app.options.namespaces,
    )


def end_now() -> None:
    """End the process without clean-up: another one leads, and whatever still runs here must not write."""
    logging.shutdown()
    os._exit(1)


def main() -> None:
    parser = _parser()
    args = parser.parse_args()
    logs.configure(args.log_level)
    try:
        settings = load_settings(args.config)
    except SettingsError as error:
        sys.exit(str(error))
    options = _options(parser, args)
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = options.kubeconfig  # kopf reads it from there
    assert handlers  # noqa: S101 (imported for its decorators)
    asyncio.run(run(App(options, settings, end_now)))


if __name__ == "__main__":
    main()
