"""Arguments of `loraform dataset check`, which makes the checks of stage `prepare` on local files."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from loraform_api.dataset import RowFormat
from loraform_api.training import TrainingSpec
from loraform_verifier.terraform.toolchain import MIRROR_VARIABLE, TERRAFORM_VARIABLE


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    group = commands.add_parser("dataset", help="check training rows before a run does")
    command = group.add_subparsers(dest="dataset_command", required=True, metavar="COMMAND").add_parser(
        "check",
        help="show which rows a run would keep or drop",
        description="Check training rows as the stage `prepare` does, with the defaults of `spec.dataset`. "
        "Exit status: 0 all rows would be kept, 1 some would be dropped or the run would fail, 2 the check failed.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="rows: .jsonl, .json, .csv or .parquet")
    command.add_argument(
        "--format", type=RowFormat, choices=list(RowFormat), default=RowFormat.INSTRUCTION,
        help="format of the rows (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--columns", action="append", default=[], metavar="NAME=COLUMN",
        help="another name of a column, for example response=answer; may be repeated",
    )  # fmt: skip
    command.add_argument(
        "--suite", type=Path, action="append", default=[], metavar="FILE",
        help="evaluation suite whose rows must not be in the training rows; may be repeated",
    )  # fmt: skip
    command.add_argument("--policy", type=Path, help="YAML file: a house policy, or an object with `spec.policy`")
    command.add_argument(
        "--tokenizer", type=Path, metavar="FOLDER", help="the base model's folder; without it lengths are not checked"
    )
    command.add_argument(
        "--max-sequence-length", type=int, metavar="TOKENS", default=TrainingSpec().max_sequence_length,
        help="most tokens of a row (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--no-validate", action="store_true", help="skip `terraform validate`")
    command.add_argument(
        "--terraform", metavar="FILE", help=f"terraform or tofu (default: ${TERRAFORM_VARIABLE}, PATH)"
    )
    command.add_argument("--mirror", metavar="FOLDER", help=f"unpacked provider mirror (default: ${MIRROR_VARIABLE})")
    command.add_argument("-o", "--output", choices=["text", "json"], default="text", help="output format")


def run(arguments: argparse.Namespace) -> int:
    """Check the files and print the report; return the exit status."""
    # Imported here, because numpy, pyarrow and tokenizers take half a second and no other command needs them.
    status: int = importlib.import_module("loraform_cli.dataset_check").run(arguments)
    return status
