"""The command line of devcluster."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from loraform_devcluster import config, files, images
from loraform_devcluster.binaries import PROGRAMS, TOOLS, Binaries
from loraform_devcluster.builder import Builder
from loraform_devcluster.direct import DirectCluster
from loraform_devcluster.given import GivenCluster
from loraform_devcluster.layout import CHECKOUT, DEFAULT_STATE, Layout, default_cache
from loraform_devcluster.progress import Progress
from loraform_devcluster.registry import Registry
from loraform_devcluster.shell import DevclusterError

DESCRIPTION = """A real one-machine Kubernetes for the demo and the tests: upstream's programs, started directly
on Linux as root. With --context NAME the commands look at that cluster instead and change nothing in it."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="loraform-devcluster", description=DESCRIPTION)
    top.add_argument("--state", type=Path, default=DEFAULT_STATE, help="folder of the cluster (default: %(default)s)")
    top.add_argument(
        "--cache", type=Path, default=default_cache(), help="folder of binaries and images (default: %(default)s)"
    )
    top.add_argument("--context", help="use the cluster of this kubeconfig context instead of making one")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="bring the cluster up, or complete one that is partly up")
    commands.add_parser("down", help="remove processes, mounts, devices and state; keep the caches")
    commands.add_parser("status", help="show processes and node; exit status 1 when something is down")
    load = commands.add_parser(
        "load-images", help="build our images and push them to the registry that the node pulls from"
    )
    load.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(images.NAMES)} (default: all)")
    load.add_argument(
        "--registry", help="push there, for example ghcr.io/you (default: the cluster's loopback registry)"
    )
    load.add_argument("--output", choices=["text", "json"], default="text", help="how to print the references")
    kube = commands.add_parser("kubeconfig", help="print the administrator's kubeconfig")
    kube.add_argument("--output", type=Path, help="write it to this file instead")
    tools = commands.add_parser("tools", help="print where command line tools lie, building them first where needed")
    known = [program.name for program in (*PROGRAMS, *TOOLS)]
    tools.add_argument("names", nargs="+", metavar="NAME", choices=known, help="for example kubectl, helm or promtool")
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    arguments = parser().parse_args(argv)
    commands: dict[str, Callable[[argparse.Namespace, Layout, Progress], bool]] = {
        "up": _up,
        "down": _down,
        "status": _status,
        "load-images": _load_images,
        "kubeconfig": _kubeconfig,
        "tools": _tools,
    }
    layout = Layout(CHECKOUT, arguments.cache.absolute(), arguments.state.absolute())
    try:
        return 0 if commands[arguments.command](arguments, layout, Progress()) else 1
    except DevclusterError as error:
        print(f"error: {error}", file=sys.stderr)
        if arguments.command == "up" and not arguments.context:
            print(
                "once the cause is gone, run `up` again; `down` removes the cluster, never the caches", file=sys.stderr
            )
        return 1


def _cluster(arguments: argparse.Namespace, layout: Layout, progress: Progress) -> DirectCluster | GivenCluster:
    return GivenCluster(arguments.context, progress) if arguments.context else DirectCluster(layout, progress)


def _up(arguments: argparse.Namespace, layout: Layout, progress: Progress) -> bool:
    _cluster(arguments, layout, progress).up()
    return True


def _down(arguments: argparse.Namespace, layout: Layout, progress: Progress) -> bool:
    _cluster(arguments, layout, progress).down()
    return True


def _status(arguments: argparse.Namespace, layout: Layout, progress: Progress) -> bool:
    return _cluster(arguments, layout, progress).status()


def _load_images(arguments: argparse.Namespace, layout: Layout, progress: Progress) -> bool:
    names = arguments.names or list(images.NAMES)
    if arguments.context and not arguments.registry:
        raise DevclusterError("name a registry that the cluster can pull from with --registry")
    registry = Registry(arguments.registry or config.REGISTRY)
    cluster = DirectCluster(layout, progress)
    if not arguments.registry:
        cluster.ensure_registry()
    references = Builder(layout, registry, progress).load(names)
    if not arguments.registry and cluster.node_running():
        cluster.pull(references)
    recorded = json.loads(layout.images.read_text()) if layout.images.exists() else {}
    files.write(layout.images, json.dumps(recorded | references, indent=2) + "\n")
    lines = (
        [json.dumps(references, indent=2)]
        if arguments.output == "json"
        else [f"{k:<12} {v}" for k, v in references.items()]
    )
    print("\n".join(lines))
    return True


def _kubeconfig(arguments: argparse.Namespace, layout: Layout, progress: Progress) -> bool:
    cluster = _cluster(arguments, layout, progress)
    text = cluster.kubeconfig()
    if arguments.output is None:
        print(text, end="")
        return True
    files.write(arguments.output, text, mode=0o600)
    return True


def _tools(arguments: argparse.Namespace, layout: Layout, progress: Progress) -> bool:
    binaries = Binaries(layout, progress)
    for name in arguments.names:
        print(binaries.path(name))
    return True


if __name__ == "__main__":
    sys.exit(main())
