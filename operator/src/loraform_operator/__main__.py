"""Start the operator: `python -m loraform_operator --config FILE`, in a pod or, with `--kubeconfig`, from anywhere."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import sys
from pathlib import Path

import kopf

from loraform_api.names import PORT_METRICS, PORT_OPERATOR
from loraform_operator import handlers, logs
from loraform_operator.app import App, Options
from loraform_operator.settings import SettingsError, load_settings

OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def _ip(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loraform-operator", description="The Loraform operator.")
    add = parser.add_argument
    add("--config", type=Path, required=True, metavar="FILE", help="YAML file with images and profiles")
    add("--kubeconfig", metavar="FILE", help="log in by this file (default: $KUBECONFIG, else as the pod's account)")
    add("--namespace", action="append", default=[], metavar="NAME", help="watch it; repeatable; default all")
    add("--operator-namespace", metavar="NAME", help="namespace of Service and Secret (default: the pod's own)")
    add(
        "--advertise-address",
        type=_ip,
        metavar="IP",
        help="where pods reach this process (default: $POD_IP)",
    )
    add("--endpoint-port", type=int, default=PORT_OPERATOR, metavar="PORT", help="HTTPS port for pods")
    add("--metrics-port", type=int, default=PORT_METRICS, metavar="PORT", help="port of /metrics, /healthz and /readyz")
    add("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


def _options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Options:
    namespace = args.operator_namespace or (OWN_NAMESPACE.read_text().strip() if OWN_NAMESPACE.exists() else None)
    address = args.advertise_address or os.environ.get("POD_IP")
    if not namespace:
        parser.error("outside a pod, --operator-namespace is needed")
    if not address:
        parser.error("without POD_IP in the environment, --advertise-address is needed")
    return Options(
        operator_namespace=namespace,
        advertise_address=_ip(address),
        namespaces=tuple(args.namespace),
        kubeconfig=args.kubeconfig or os.environ.get("KUBECONFIG"),
        endpoint_port=args.endpoint_port,
        metrics_port=args.metrics_port,
    )


async def run(app: App) -> None:
    """Run until a signal ends it."""
    await kopf.operator(
        registry=kopf.get_default_registry(),
        memo=kopf.Memo(app=app),  # kopf copies the memo for each object, but not what is in it
        standalone=True,
        clusterwide=not app.namespaced,
        namespaces=app.options.namespaces,
    )


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
    asyncio.run(run(App(options, settings)))


if __name__ == "__main__":
    main()
