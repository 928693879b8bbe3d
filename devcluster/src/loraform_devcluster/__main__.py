"""Knows the command line: `loraform-devcluster up | down | status | load-images | kubeconfig | tools`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .binaries import TOOLS, Binaries
from .direct import DirectCluster
from .layout import CHECKOUT, DEFAULT_STATE, Layout, default_cache
from .progress import Progress
from .shell import DevclusterError


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="loraform-devcluster", description=__doc__.partition("`")[0])
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    layout = Layout(CHECKOUT, default_cache(), DEFAULT_STATE)
    progress = Progress()
    cluster = DirectCluster(layout, progress)
    words = sys.argv[1:] if argv is None else argv
    try:
        if words[0] == "up":
            cluster.up()
        elif words[0] == "down":
            cluster.down()
        elif words[0] == "status":
            return 0 if cluster.status() else 1
    except DevclusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
