"""Stage `prepare`: from sources to tokenised rows, a staged base model, suites and the live adapter. Needs no GPU."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from loraform_api.finetunejob import DatasetSpec, Deduplicate
from loraform_api.names import RunStage
from loraform_api.run import PrepareResult, RunConfig, StageReport
from loraform_api.verification import HousePolicy, Stage
from loraform_trainer import sources, staging, tokens
from loraform_trainer.context import Context
from loraform_trainer.errors import DatasetInvalidError, InvalidConfigError
from loraform_trainer.files import write_jsonl
from loraform_trainer.filters import Filter, Ledger, apply
from loraform_trainer.rows import BadLine, Row, SuiteLine, TrainLine, read_lines
from loraform_trainer.tokens import BaseTokens
from loraform_verifier.parse import parse
from loraform_verifier.rewrite import rewrite

log = logging.getLogger(__name__)

CURLY_QUOTES = "\u201c\u201d\u201e\u201f\u2018\u2019"
SPLIT_STEPS = 1_000_000


@dataclass(frozen=True)
class SuiteRow:
    suite: str
    line: SuiteLine
    stages: list[Stage]

    @property
    def prompt(self) -> tuple[str, str]:
        """The same key as a training row's."""
        return self.line.instruction.strip(), (self.line.input or "").strip()

    @property
    def lacks_plan(self) -> bool:
        """Intent has a question to a plan that is not made."""
        return bool(self.line.rego) and Stage.INTENT in self.stages and Stage.PLAN not in self.stages

    @property
    def types(self) -> list[str]:
        """Resource types that an answer should have: what the row asks for, else those of its reference."""
        if self.line.asked is not None and self.line.asked.types:
            return sorted(set(self.line.asked.types))
        return sorted({block.labels[0][:64] for block in parse(self.line.reference or "").resources()})


def run(context: Context) -> StageReport:
    """Prepare the workspace; raises StageError with what is wrong and where."""
    config, paths, progress = context.config, context.paths, context.progress
    progress.update(0)
    _check_suites(config)
    sources.check_packs(context)
    base = staging.stage_base(paths.base_mount, config.spec.base_model.storage_uri, paths.base)
    staging.check_lora(config.spec.lora, config.max_lora_rank, paths.base)
    vocabulary = tokens.load(paths.base)
    if config.live is not None:
        staging.stage_live(paths.live_mount, config.live, paths.live)
    progress.update(0.2)
    suite = list(_suite_rows(context))
    ledger = Ledger()
    raw = list(_training_rows(context, ledger))
    progress.update(0.4)
    longest = min(config.spec.training.max_sequence_length, base.max_positions or 2**31)
    rows = apply(chain(config.spec.dataset, config.policy, suite, vocabulary, longest), raw, ledger)
    train, validation = split(rows, config.spec.dataset.validation_percent, config.spec.training.seed)
    _enough(config.spec.dataset, len(rows), len(train), ledger)
    progress.update(0.8, metrics={"rows": len(rows)})
    write_jsonl(paths.train_rows, (_tokenised(row, vocabulary) for row in train))
    write_jsonl(paths.validation_rows, (_tokenised(row, vocabulary) for row in validation))
    write_jsonl(paths.suite_rows, (_suite_json(row) for row in suite))
    shutil.rmtree(paths.downloads, ignore_errors=True)
    counts = {"Read": ledger.read, **ledger.dropped, "Train": len(train), "Validation": len(validation)}
    result = PrepareResult(
        dataset_digest=dataset_digest(train, validation),
        rows=counts,
        base_digest=base.digest,
        template_hash=vocabulary.template_hash,
        suite_rows=len(suite),
    )
    message = f"{len(train)} training and {len(validation)} validation rows of {ledger.read} read"
    return StageReport(stage=RunStage.PREPARE, message=message, prepare=result)


def _check_suites(config: RunConfig) -> None:
    for suite in config.spec.evaluation.suites:
        if config.policy and config.policy.packs and Stage.POLICY in suite.stages and Stage.PLAN not in suite.stages:
            raise InvalidConfigError(
                f"spec.evaluation.suites: the policy's packs ask the plan, and `stages` of suite {suite.name!r} lack "
                "Plan: add it, or leave out Policy"
            )


def _training_rows(context: Context, ledger: Ledger) -> Iterator[Row]:
    for source in context.config.spec.dataset.sources:
        path = sources.fetch(context, source, context.paths.sources_mount, "dataset.sources")
        for line in read_lines(path, TrainLine):
            ledger.read += 1
            if isinstance(line, BadLine):
                ledger.drop("InvalidRow", f"{source.name}:{line.number}: {line.reason}")
            else:
                number, row = line
                yield Row(f"{source.name}:{number}", row.instruction, row.input or "", row.response)


def _suite_rows(context: Context) -> Iterator[SuiteRow]:
    """Yield the rows of all suites. A suite decides, so nothing in it is dropped: what is wrong is an error."""
    seen: dict[str, str] = {}
    for suite in context.config.spec.evaluation.suites:
        path = sources.fetch(context, suite, context.paths.suites_mount, "evaluation.suites")
        for line in read_lines(path, SuiteLine):
            if isinstance(line, BadLine):
                raise DatasetInvalidError(f"suite {suite.name!r}, line {line.number}: {line.reason}")
            number, row = line
            if row.id in seen:
                raise DatasetInvalidError(
                    f"suite {suite.name!r}, line {number}: id {row.id!r} is already used in {seen[row.id]}"
                )
            seen[row.id] = f"suite {suite.name!r}, line {number}"
            made = SuiteRow(suite.name, row, [stage for stage in Stage if stage in suite.stages])
            if made.lacks_plan:
                raise DatasetInvalidError(
                    f"suite {suite.name!r}, line {number}: `rego` asks the plan, and the suite's `stages` lack Plan: "
                    "add it, or leave out Intent"
                )
            yield made
    if not seen:
        raise DatasetInvalidError("spec.evaluation.suites: the suites have no rows")


def chain(
    dataset: DatasetSpec, policy: HousePolicy | None, suite: Iterable[SuiteRow], vocabulary: BaseTokens, longest: int
) -> list[tuple[str, Filter]]:
    """Return the filters in their order. `longest` is in tokens, prompt and response together."""
    steps: list[tuple[str, Filter]] = [("CurlyQuotes", _curly_quotes), ("SyntaxError", _syntax)]
    if policy is not None:
        steps.append(("Policy", _teach(policy)))
    if dataset.deduplicate is Deduplicate.EXACT:
        steps.append(("Duplicate", _first_only()))
    steps.append(("InSuite", _not_in(suite)))
    steps.append(("TooLong", _at_most(longest, vocabulary)))
    return steps


def _curly_quotes(row: Row) -> Row | str:
    found = sorted({c for c in row.response if c in CURLY_QUOTES})
    if found and parse(row.response).problems:
        return f"the response has typographic quotes {' '.join(found)}; Terraform needs \" (a word processor's copy?)"
    return row


def _syntax(row: Row) -> Row | str:
    document = parse(row.response)
    if document.problems:
        first = document.problems[0]
        return f"the response is not Terraform, line {first.line}: {first.message}"
    return row if document.blocks else "the response has no block"


def _teach(policy: HousePolicy) -> Filter:
    """Make the answer one that the house wants to see."""

    def step(row: Row) -> Row | str:
        return row.with_response(rewrite(parse(row.response), policy))

    return step


def _first_only() -> Filter:
    seen: dict[tuple[tuple[str, str], str], str] = {}

    def step(row: Row) -> Row | str:
        first = seen.setdefault((row.prompt, row.response.strip()), row.id)
        return row if first == row.id else f"same prompt and program as {first}"

    return step


def _not_in(suite: Iterable[SuiteRow]) -> Filter:
    """Keep what decides out of training."""
    held_out = {row.prompt: row.line.id for row in suite}

    def step(row: Row) -> Row | str:
        known = held_out.get(row.prompt)
        return row if known is None else f"its prompt is that of suite row {known!r}"

    return step


def _at_most(longest: int, vocabulary: BaseTokens) -> Filter:
    def step(row: Row) -> Row | str:
        size = len(vocabulary.prompt(row.instruction, row.input)) + len(vocabulary.response(row.response))
        return row if size <= longest else f"{size} tokens, more than {longest}"

    return step


def split(rows: Iterable[Row], validation_percent: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Return training and validation rows. A prompt's hash decides, so that a prompt is never on both sides."""
    train: list[Row] = []
    validation: list[Row] = []
    for row in rows:
        key = json.dumps([seed, *row.prompt]).encode()
        position = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % SPLIT_STEPS
        side = validation if position * 100 < validation_percent * SPLIT_STEPS else train
        side.append(row)
    return train, validation


def _enough(dataset: DatasetSpec, kept: int, train: int, ledger: Ledger) -> None:
    if kept < dataset.min_rows or train == 0:
        for name, count in ledger.dropped.items():
            log.error("filter %s dropped %d rows; first: %s", name, count, ledger.examples[name])
        raise DatasetInvalidError(
            f"{kept} of {ledger.read} rows remain, of them {train} for training; spec.dataset.minRows asks for "
            f"{dataset.min_rows}. Dropped: {ledger.summary()}"
        )


def dataset_digest(train: Iterable[Row], validation: Iterable[Row]) -> str:
    """Return the digest of all kept rows: their text, their order and their side."""
    digest = hashlib.sha256()
    for side, rows in (("train", train), ("validation", validation)):
        for row in rows:
            digest.update(json.dumps([side, *row.prompt, row.response]).encode() + b"\n")
    return digest.hexdigest()


def _tokenised(row: Row, vocabulary: BaseTokens) -> dict[str, object]:
    return {
        "id": row.id,
        "prompt_ids": vocabulary.prompt(row.instruction, row.input),
        "response_ids": vocabulary.response(row.response),
    }


def _suite_json(row: SuiteRow) -> dict[str, object]:
    return {
        "id": row.line.id,
        "suite": row.suite,
        "instruction": row.line.instruction,
        "input": row.line.input or "",
        "asked": None if row.line.asked is None else row.line.asked.model_dump(mode="json"),
        "stages": [str(stage) for stage in row.stages],
        "rego": row.line.rego or None,
        "types": row.types,
        "difficulty": _label(row.line.difficulty),
        "cluster": _label(row.line.cluster),
    }


def _label(value: int | str | None) -> str:
    return "" if value is None else str(value)
