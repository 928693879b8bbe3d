"""The command line `loraform`, and the kubectl plugin `kubectl loraform`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from loraform_api import __version__
from loraform_api.finetunejob import FineTuneJob
from loraform_api.iacmodel import IaCModel
from loraform_api.names import Kind
from loraform_cli import dataset, estimate, schema, verify
from loraform_cli.cluster import Cluster, ClusterError, parse_reference
from loraform_cli.inputs import InputError
from loraform_cli.object_state import ObjectState
from loraform_cli.watch import Watch

USAGE_ERROR = 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    program = "kubectl loraform" if Path(sys.argv[0]).name.startswith("kubectl-") else "loraform"
    top = argparse.ArgumentParser(prog=program, description="Verify programs, check rows, follow objects.")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verify.add_parser(commands)
    schema.add_parser(commands)
    dataset.add_parser(commands)
    estimate.add_parser(commands)
    _add_watch(commands)
    return top


def _add_watch(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "watch",
        help="follow a FineTuneJob or an IaCModel until it is done",
        description="Follow one object. Exit status: 0 succeeded (or ready), 1 failed or timed out, 2 not readable.",
    )
    command.add_argument("reference", metavar="KIND/NAME", help="finetunejob/NAME or iacmodel/NAME")
    command.add_argument("-n", "--namespace", help="namespace (default: the context's)")
    command.add_argument("--kubeconfig", help="path of a kubeconfig (default: KUBECONFIG or ~/.kube/config)")
    command.add_argument("--context", help="context of the kubeconfig (default: the current one)")
    command.add_argument("--timeout", type=float, metavar="SECONDS", help="give up after this time (default: never)")


def run_watch(arguments: argparse.Namespace) -> int:
    """Follow the object; return the exit status."""
    kind, name = parse_reference(arguments.reference)
    cluster = Cluster(arguments.kubeconfig, arguments.context)
    namespace = arguments.namespace or cluster.namespace
    console = Console()
    if kind is Kind.FINE_TUNE_JOB:
        return follow(Watch(lambda: cluster.job(namespace, name), console), arguments.timeout)
    return follow(Watch(lambda: cluster.model(namespace, name), console), arguments.timeout)


def follow(watch: Watch[FineTuneJob] | Watch[IaCModel], timeout: float | None) -> int:
    """Watch until the end or `timeout`, print the result, and return the exit status."""
    end = watch.until_done(timeout)
    watch.print_result()
    return 0 if end is ObjectState.SUCCESS else 1


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "verify": verify.run,
    "schema": schema.run,
    "dataset": dataset.run,
    "estimate": estimate.run,
    "watch": run_watch,
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        status = _run(arguments)
        print(end="", flush=True)
    except OSError as error:
        # At exit Python flushes stdout again and would print a traceback, so redirect it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE  # as a shell reports a closed pipe
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    return status


def _run(arguments: argparse.Namespace) -> int:
    try:
        return RUN[arguments.command](arguments)
    except (ClusterError, InputError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
