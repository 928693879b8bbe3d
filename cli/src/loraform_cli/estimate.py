"""Command `loraform estimate`: estimates GPU memory and training time of a FineTuneJob."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.names import Kind
from loraform_cli.inputs import InputError, first_error
from loraform_trainer.runtime.errors import StageError
from loraform_trainer.train.estimate import gpus, shape
from loraform_trainer.train.estimate.estimate import (
    BYTES,
    UTILISATION,
    Memory,
    MemoryFit,
    RowCounts,
    advice,
    assess,
    hours,
    operations,
)
from loraform_trainer.train.estimate.gpus import GIB, GPUS, Gpu
from loraform_trainer.train.estimate.shape import ModelShape

UNITS = {"GiB": 1 << 30, "Gi": 1 << 30, "GB": 10**9, "G": 10**9, "MiB": 1 << 20, "Mi": 1 << 20}
BATCH = 1000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    names = ", ".join(gpu.name for gpu in GPUS)
    command = commands.add_parser(
        "estimate",
        help="estimate whether a run fits on a GPU, and how long it takes",
        description="Estimate memory, work and hours of the stage `train` from the sizes of the base model. "
        "Exit status: 0 the run fits, 1 it does not, 2 nothing could be estimated.",
    )
    command.add_argument("-f", "--filename", type=Path, required=True, metavar="FILE",
                         help="YAML of a FineTuneJob")  # fmt: skip
    command.add_argument("--base", type=Path, required=True, metavar="PATH",
                         help="the base model's folder, or its config.json alone")  # fmt: skip
    device = command.add_mutually_exclusive_group(required=True)
    device.add_argument("--gpu", metavar="NAME", help=f"one of {names}")
    device.add_argument("--memory", metavar="SIZE", help="memory of each GPU, for example 24GiB")
    command.add_argument("--dtype", choices=list(BYTES), default="bfloat16",
                         help="number type of the profile's engine (default: %(default)s)")  # fmt: skip
    command.add_argument("--rows", type=int, metavar="N", help="training rows; with --mean-tokens")
    command.add_argument("--mean-tokens", type=int, metavar="N", help="tokens of a row, prompt and response")
    command.add_argument("--data", type=Path, metavar="FILE",
                         help="training rows in the format of the job's first source; with --tokenizer")  # fmt: skip
    command.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="folder of the base model's tokenizer")
    command.add_argument("-o", "--output", choices=["text", "json"], default="text", help="output format")


@dataclass(frozen=True, slots=True)
class Work:
    """Work and time of training."""

    tokens: int
    """Tokens of all epochs."""
    flops: float
    least_hours: float | None
    most_hours: float | None
    """None if only the GPU's memory was given."""
    gpus: int


def run(arguments: argparse.Namespace) -> int:
    """Print the estimate; return the exit status. Raises InputError."""
    spec = read_job(arguments.filename)
    try:
        base = shape.read(arguments.base)
    except StageError as error:
        raise InputError(f"--base {arguments.base}: {error.message}") from error
    gpu, available = _device(arguments)
    verdict = assess(base, spec, arguments.dtype, available)
    rows = _rows(arguments, spec)
    work = None if rows is None else _work(base, spec, verdict, rows, gpu)
    if arguments.output == "json":
        print(json.dumps(as_json(base, spec, verdict, work), indent=2))
    else:
        Console().print(as_text(base, spec, verdict, work))
    return 0 if verdict.fits else 1


def read_job(path: Path) -> FineTuneJobSpec:
    """Return the spec of the file's first FineTuneJob; raises InputError."""
    try:
        documents: list[Any] = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    for document in documents:
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind not in (Kind.FINE_TUNE_JOB, Kind.IAC_MODEL):
            continue
        spec = document.get("spec") or {}
        try:
            return FineTuneJobSpec.model_validate(spec if kind == Kind.FINE_TUNE_JOB else spec.get("jobTemplate"))
        except ValidationError as error:
            raise InputError(f"{path}: {first_error(error)}") from error
    raise InputError(f"{path}: the file has no FineTuneJob")


def _device(arguments: argparse.Namespace) -> tuple[Gpu | None, int]:
    """Return the GPU, if it is a known one, and its memory in bytes."""
    if arguments.gpu is None:
        return None, memory_size(arguments.memory)
    gpu = gpus.find_gpu(arguments.gpu)
    if gpu is None:
        known = ", ".join(each.name for each in GPUS)
        raise InputError(f"--gpu {arguments.gpu}: unknown; give one of {known}, or --memory")
    return gpu, gpu.memory


def memory_size(text: str) -> int:
    """Return the bytes of `24GiB`, `24Gi` or `24GB`."""
    match = re.fullmatch(rf"([0-9]+(?:\.[0-9]+)?) ?({'|'.join(UNITS)})", text)
    if match is None:
        raise InputError(f"--memory {text}: give a number with one of {', '.join(UNITS)}, for example 24GiB")
    return int(float(match[1]) * UNITS[match[2]])


def _rows(arguments: argparse.Namespace, spec: FineTuneJobSpec) -> RowCounts | None:
    alike, given = (arguments.rows, arguments.mean_tokens), (arguments.data, arguments.tokenizer)
    if all(alike) and not any(given):
        return RowCounts.of_equal_rows(*alike)
    if all(given) and not any(alike):
        lengths = list(_lengths(arguments.data, arguments.tokenizer, spec))
        squares = sum((prompt + response) ** 2 for prompt, response in lengths)
        return RowCounts(sum(p + r for p, r in lengths), sum(response for _, response in lengths), squares)
    if any(alike) or any(given):
        raise InputError("give --rows with --mean-tokens, or --data with --tokenizer")
    return None


def _lengths(data: Path, tokenizer: Path, spec: FineTuneJobSpec) -> Iterator[tuple[int, int]]:
    """Yield the number of tokens of prompt and response of each valid row."""
    # Imported here, because tokenizers and pyarrow take half a second.
    from loraform_trainer.prepare.dataset import formats, readers, row_tokens  # noqa: PLC0415
    from loraform_trainer.runtime import tokens  # noqa: PLC0415

    source = spec.dataset.sources[0]
    rows = []
    try:
        vocabulary = tokens.load(tokenizer)
        columns = formats.columns_read(source.format, source.columns)
        for number, record in readers.read(data, readers.format_of(data.name, source.file_format), columns):
            if isinstance(record, readers.BadRow):
                continue
            try:
                rows.append(formats.row_of(record, source.format, source.columns, str(number)))
            except formats.UnusableError:
                continue
    except (StageError, OSError) as error:
        raise InputError(f"--data {data}, --tokenizer {tokenizer}: {error}") from error
    for begin in range(0, len(rows), BATCH):
        prompts, responses = row_tokens.encode_rows(vocabulary, rows[begin : begin + BATCH])
        yield from ((len(p), len(r)) for p, r in zip(prompts, responses, strict=True))


def _work(base: ModelShape, spec: FineTuneJobSpec, verdict: MemoryFit, rows: RowCounts, gpu: Gpu | None) -> Work:
    flops = operations(base, spec, rows, recompute=verdict.recompute)
    count = spec.placement.nodes * spec.placement.gpus
    least, most = (None, None) if gpu is None else hours(flops, gpu, count)
    return Work(spec.training.epochs * rows.tokens, flops, least, most, count)


def as_json(base: ModelShape, spec: FineTuneJobSpec, verdict: MemoryFit, work: Work | None) -> dict[str, Any]:
    """Return the estimate for `-o json`; memory in bytes on each GPU."""
    return {
        "fits": verdict.fits,
        "recompute": verdict.recompute,
        "availableBytes": verdict.available,
        "neededBytes": verdict.need.total,
        "memoryKept": asdict(verdict.plain),
        "memoryRecomputed": asdict(verdict.recomputed),
        "weights": base.parameters,
        "adapterWeights": base.trained_weights(spec.lora),
        "advice": [] if verdict.fits else advice(spec, verdict),
        "work": None if work is None else asdict(work),
    }


def as_text(base: ModelShape, spec: FineTuneJobSpec, verdict: MemoryFit, work: Work | None) -> RenderableType:
    """Return the estimate as text."""
    adapter = base.trained_weights(spec.lora)
    counted = "counted" if base.counted else "by its config"
    head = (
        f"{base.family}, {base.parameters / 1e9:.2f} billion weights ({counted}); {spec.method} of rank "
        f"{spec.lora.rank}, {adapter / 1e6:.1f} million weights; packs of {spec.training.max_sequence_length} tokens"
    )
    return Group(Text(head), _table(verdict), *(Text(line) for line in _lines(spec, verdict, work)))


def _table(verdict: MemoryFit) -> Table:
    table = Table(title="GiB on each GPU, activations:", title_justify="left")
    table.add_column("")
    for recompute, name in ((False, "kept"), (True, "recomputed")):
        table.add_column(name, justify="right", style="bold" if recompute is verdict.recompute else "dim")
    for part in fields(Memory):
        sizes = (getattr(need, part.name) for need in (verdict.plain, verdict.recomputed))
        table.add_row(part.name, *(f"{size / GIB:.2f}" for size in sizes))
    table.add_section()
    table.add_row("total", *(f"{need.total / GIB:.2f}" for need in (verdict.plain, verdict.recomputed)))
    return table


def _lines(spec: FineTuneJobSpec, verdict: MemoryFit, work: Work | None) -> Iterator[str]:
    activations = "recomputed" if verdict.recompute else "kept"
    result = "fits" if verdict.fits else "does not fit"
    yield (
        f"The run {result}: activations are {activations} (spec.training.recompute: {verdict.mode}), "
        f"{verdict.need.total / GIB:.1f} of {verdict.available / GIB:.1f} GiB."
    )
    if not verdict.fits:
        yield from (f"- {line}" for line in advice(spec, verdict))
    if work is None:
        return
    epochs = spec.training.epochs
    yield f"Work: {work.tokens / 1e6:.2f} million tokens in {epochs} epochs, {work.flops / 1e15:.1f} PFLOP."
    if work.least_hours is not None and work.most_hours is not None:
        low, high = (f"{share:.0%}" for share in UTILISATION)
        least, most = work.least_hours * work.gpus, work.most_hours * work.gpus
        where = f"{work.gpus} GPUs" if work.gpus > 1 else "one GPU"
        yield (
            f"Time: {work.least_hours:.2f} to {work.most_hours:.2f} hours on {where} at {high} to {low} of the peak, "
            f"{least:.2f} to {most:.2f} GPU-hours."
        )
