"""`python -m loraform_verifier serve`: the entry point of the verifier's image."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from aiohttp import web

from loraform_verifier.keeper import ProviderKeeper
from loraform_verifier.service import application
from loraform_verifier.toolchain import MIRROR_VARIABLE, TERRAFORM_VARIABLE, ToolchainError, discover
from loraform_verifier.validate import Validator
from loraform_verifier.verify import Verifier


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM. Exit status 2: no usable toolchain, or wrong usage."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    try:
        terraform = discover(options.terraform, options.mirror)
    except ToolchainError as error:
        sys.stderr.write(f"loraform_verifier: {error}\n")
        return 2
    logging.getLogger(__name__).info("toolchain %s, pid %d", terraform.words().model_dump(), os.getpid())
    with ProviderKeeper(terraform) as keeper:
        app = application(Verifier(terraform, Validator(terraform, keeper=keeper)))
        web.run_app(app, host=options.host, port=options.port, print=None, access_log=None)
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
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
