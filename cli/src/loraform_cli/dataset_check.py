"""Implements `loraform dataset check`: makes the checks of stage `prepare` in this process and prints the report."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from loraform_api.dataset import Columns, DatasetSpec, TrainingSource
from loraform_api.training import TrainingSpec
from loraform_api.verification import HousePolicy
from loraform_cli.inputs import InputError, first_error, read_policy
from loraform_engine.prompting import Prompter
from loraform_trainer.prepare.dataset.build import BuildRequest, PreparedDataset, build_dataset
from loraform_trainer.prepare.dataset.decontaminate import HeldOut, SuiteIndex
from loraform_trainer.prepare.dataset.filter_rows import ReportProgress
from loraform_trainer.prepare.dataset.report import report_lines
from loraform_trainer.prepare.dataset.source_rows import SourceRow, read_source_rows
from loraform_trainer.prepare.dataset.suites import held_out, suite_lines
from loraform_trainer.prepare.dataset.validity import ValidityCheck
from loraform_trainer.runtime import tokens
from loraform_trainer.runtime.errors import DatasetInvalidError, StageError
from loraform_verifier.sandbox.isolation import IsolationError
from loraform_verifier.schema.compact import SchemaError
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import ToolchainError, discover
from loraform_verifier.verify import Verifier

PROGRESS_SECONDS = 2.0
REFUSED = 1


def run(arguments: argparse.Namespace) -> int:
    """Check the files and print the report; return the exit status."""
    for path in (*arguments.files, *arguments.suite):
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    job = _job(arguments)
    suite = SuiteIndex(list(_suite(arguments.suite, job.policy)))
    try:
        with _validity(arguments) as validity, tempfile.TemporaryDirectory(prefix="loraform-") as work:
            outcome = build_dataset(replace(job, validity=validity), _rows(arguments), suite, Path(work), _progress())
    except DatasetInvalidError as error:
        print(f"refused: {error.message}")
        return REFUSED
    print("\n".join(_text(outcome, arguments)) if arguments.output == "text" else _json(outcome))
    return REFUSED if outcome.refusal or outcome.report.dropped else 0


def _job(arguments: argparse.Namespace) -> BuildRequest:
    policy = None if arguments.policy is None else read_policy(arguments.policy)
    spec = DatasetSpec(sources=[TrainingSource(name="files")])  # a placeholder: the rows come from local files
    vocabulary = None if arguments.tokenizer is None else _vocabulary(arguments.tokenizer)
    return BuildRequest(spec, policy, TrainingSpec().seed, arguments.max_sequence_length, vocabulary, None)


def _vocabulary(folder: Path) -> Prompter:
    try:
        return tokens.load(folder)
    except StageError as error:
        raise InputError(f"--tokenizer {folder}: {error.message}") from error
    except OSError as error:
        raise InputError(f"--tokenizer {folder}: {error.strerror}: {error.filename}") from error


def _suite(paths: list[Path], policy: HousePolicy | None) -> Iterator[HeldOut]:
    for path in paths:
        try:
            yield from (held_out(line, policy) for _, line in suite_lines(path, str(path), None))
        except DatasetInvalidError as error:
            raise InputError(f"--suite {error.message}") from error


def _rows(arguments: argparse.Namespace) -> Iterator[SourceRow]:
    columns = _columns(arguments.columns)
    for path in arguments.files:
        yield from read_source_rows(path, path.name, arguments.format, columns)


def _columns(pairs: list[str]) -> Columns:
    names = dict(pair.partition("=")[::2] for pair in pairs)
    unknown = [name for name in names if name not in Columns.model_fields]
    if unknown:
        raise InputError(f"--columns {unknown[0]}: allowed are {', '.join(f'{n}=…' for n in Columns.model_fields)}")
    try:
        return Columns.model_validate(names)
    except ValidationError as error:
        raise InputError(f"--columns {first_error(error)}") from error


@contextmanager
def _validity(arguments: argparse.Namespace) -> Iterator[ValidityCheck | None]:
    if arguments.no_validate:
        yield None
        return
    try:
        terraform = discover(arguments.terraform, arguments.mirror)
        with ProviderServers(terraform) as servers:
            yield ValidityCheck(Verifier(terraform, servers=servers).verify)
    except ToolchainError as error:
        raise InputError(f"{error}, or give --no-validate") from error
    except (IsolationError, SchemaError) as error:
        raise InputError(str(error)) from error


def _progress() -> ReportProgress:
    last = time.monotonic()

    def report_progress(read: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            print(f"{read} rows read", file=sys.stderr)

    return report_progress


def _text(outcome: PreparedDataset, arguments: argparse.Namespace) -> Iterator[str]:
    yield from report_lines(outcome.report)
    if arguments.no_validate:
        yield "not checked: Invalid (--no-validate)"
    if arguments.tokenizer is None:
        yield "not checked: TooLong (give --tokenizer)"
    if outcome.refusal is not None:
        yield f"refused: {outcome.refusal}"


def _json(outcome: PreparedDataset) -> str:
    report = outcome.report.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps({**report, "refusal": outcome.refusal}, indent=2, ensure_ascii=False)
