"""`python -m loraform_verifier serve`: entry point of the verifier image."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from functools import partial
from pathlib import Path

from aiohttp import web

from loraform_verifier.http.queue import Verifiers
from loraform_verifier.http.service import IDLE_SECONDS, application
from loraform_verifier.rego.evaluate import check_engine
from loraform_verifier.sandbox.isolation import IsolationError, make_undumpable, remove_leftovers
from loraform_verifier.schema.compact import SchemaError
from loraform_verifier.stages.bounded import shared_worker
from loraform_verifier.terraform.batch import ALONE, SHARED
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import (
    MIRROR_VARIABLE,
    MODULES_VARIABLE,
    TERRAFORM_VARIABLE,
    ToolchainError,
    discover,
)
from loraform_verifier.terraform.warm_up import WarmUp
from loraform_verifier.verify import Verifier


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM. Exit status 2: no usable toolchain, no free port, or invalid arguments."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    try:
        make_undumpable()
        remove_leftovers()
        terraform = discover(options.terraform, options.mirror, options.modules)
        check_engine()
        shared_worker().start()
        with ProviderServers(terraform) as servers:
            new = partial(Verifier, terraform, servers=servers, packs=read_packs(options.packs))
            verifiers = Verifiers(new(), new(deadlines=ALONE), new(deadlines=SHARED))
            app = application(verifiers, WarmUp(terraform, servers))
            logging.getLogger(__name__).info("toolchain %s, pid %d", terraform.provenance().model_dump(), os.getpid())
            web.run_app(
                app,
                host=options.host,
                port=options.port,
                print=None,
                access_log=None,
                handler_cancellation=True,
                keepalive_timeout=IDLE_SECONDS,
            )
    except (ToolchainError, SchemaError, PackError, IsolationError, OSError) as error:
        sys.stderr.write(f"loraform_verifier: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loraform_verifier", description="The Terraform verifier.")
    serve = parser.add_subparsers(dest="command", required=True).add_parser("serve", help="run the HTTP service")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on")
    serve.add_argument("--port", type=int, default=8085, help="port to listen on")
    serve.add_argument("--terraform", help=f"terraform or tofu binary (default: ${TERRAFORM_VARIABLE}, then PATH)")
    serve.add_argument(
        "--mirror", help=f"unpacked provider mirror (default: ${MIRROR_VARIABLE}, then the usual folders)"
    )
    serve.add_argument("--modules", help=f"module mirror (default: ${MODULES_VARIABLE}; otherwise none)")
    serve.add_argument(
        "--packs",
        type=Path,
        help="folder with a subfolder for each policy pack that holds its .rego file (default: none)",
    )
    return parser


class PackError(ValueError):
    """A policy pack cannot be read; the message names it and the reason."""


def read_packs(folder: Path | None) -> dict[str, str]:
    """Return Rego modules by the name of their folder in `folder`."""
    packs = {}
    for pack_folder in sorted(folder.iterdir()) if folder else ():
        files = sorted(pack_folder.glob("*.rego"))
        if len(files) != 1:
            raise PackError(f"--packs: {pack_folder} must hold exactly one .rego file; it holds {len(files)}")
        try:
            packs[pack_folder.name] = files[0].read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PackError(f"--packs: {files[0]}: {error}") from error
    return packs


if __name__ == "__main__":
    raise SystemExit(main())
