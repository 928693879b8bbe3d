"""Makes repair rows: the input is a program with one mistake and the verifier's findings, the answer is the original.

They train a model for Reflexion, so the input is byte for byte what a model gets in a repair round: the program as it
would be served, verified by the same stages, rendered by the function that evaluation uses. Mistakes that the
verifier does not reject are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random

from loraform_api.verification import MAX_TEXT, WITHOUT_PLAN, HousePolicy, Program, ProgramVerdict, VerifyRequest
from loraform_trainer.prepare.dataset.repair import mistakes
from loraform_trainer.prepare.dataset.repair.edits import Mistake
from loraform_trainer.prepare.dataset.rows import TrainingRow
from loraform_trainer.prepare.dataset.validity import CHUNK, CHUNK_CHARACTERS, Verify
from loraform_verifier.hcl.parse import Document, parse
from loraform_verifier.policy.house_policy import check_house_policy
from loraform_verifier.policy.rewrite import rewrite
from loraform_verifier.reflexion import Candidate, repair_input
from loraform_verifier.security.literal_secrets import find_secrets

MAX_TRIES = 4
"""Most broken programs that are made for each requested row."""
MAX_MISSES = 2000
"""Consecutive programs that a kind of mistake does not apply to, after which the kind is given up."""
SEPARATOR = "#"
"""Separates the row's id and the kind of mistake in the id of a repair row."""


@dataclass(frozen=True, slots=True)
class RepairRows:
    """Repair rows, and how many attempts failed."""

    rows: tuple[TrainingRow, ...] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Rows by kind of mistake."""
    not_refused: int = 0
    """Broken programs that the verifier accepted or could not decide."""
    too_long: int = 0
    """Rows that were too long to train on."""
    missing: int = 0
    """Requested rows that could not be made."""


@dataclass(frozen=True, slots=True)
class BrokenProgram:
    """A row's program with one mistake."""

    row: TrainingRow
    kind: str
    text: str


def make_repair_rows(
    rows: Sequence[TrainingRow],
    percent: int,
    *,
    verify: Verify,
    policy: HousePolicy | None,
    fits: Callable[[TrainingRow], bool],
    seed: int,
) -> RepairRows:
    """Return `percent` repair rows for every hundred of `rows`, of as many kinds of mistakes as apply.

    `rows` are training rows whose programs passed the verifier; the same rows and seed give the same repair rows.
    `fits` returns whether a row is short enough to train on. Raises the errors of `verify`.
    """
    requested = (len(rows) * percent + 50) // 100
    queue = _Queue(rows, policy, seed)
    kept: list[TrainingRow] = []
    not_refused = too_long = tried = 0
    while len(kept) < requested and tried < MAX_TRIES * requested:
        candidates = queue.take(min(requested - len(kept), CHUNK))
        if not candidates:
            break
        tried += len(candidates)
        for broken, verdict in zip(candidates, _verdicts(candidates, verify, policy), strict=True):
            row = repair_row(broken, verdict)
            usable = row is not None and fits(row)
            if row is None:
                not_refused += 1
            elif usable:
                kept.append(row)
            else:
                too_long += 1
            queue.record(broken.kind, usable)
    kinds = Counter(row.id.rpartition(SEPARATOR)[2] for row in kept)
    return RepairRows(tuple(kept), dict(kinds), not_refused, too_long, requested - len(kept))


def repair_row(broken: BrokenProgram, verdict: ProgramVerdict) -> TrainingRow | None:
    """Return the repair row of a broken program; None when the verifier has no conclusive finding."""
    candidate = Candidate.served(broken.text, verdict)
    if not candidate.findings:
        return None
    input_text = repair_input(broken.row.input, candidate)
    return replace(broken.row, id=f"{broken.row.id}{SEPARATOR}{broken.kind}", input=input_text)


def _verdicts(
    broken_programs: Sequence[BrokenProgram], verify: Verify, policy: HousePolicy | None
) -> list[ProgramVerdict]:
    programs = [Program(id=str(number), text=broken.text) for number, broken in enumerate(broken_programs)]
    request = VerifyRequest(programs=programs, stages=list(WITHOUT_PLAN), policy=policy, rewrite=policy is not None)
    verdicts = {verdict.id: verdict for verdict in verify(request).verdicts}
    return [verdicts[program.id] for program in programs]


class _Queue:
    """Makes broken programs in an order that the seed decides: the rarest kind first, each row once for each kind."""

    def __init__(self, rows: Sequence[TrainingRow], policy: HousePolicy | None, seed: int) -> None:
        kinds = mistakes.kinds(policy)
        random = Random(seed)  # noqa: S311 - reproducible, not for secrets
        order = random.sample(range(len(rows)), len(rows))
        names = random.sample(sorted(kinds), len(kinds))
        self._policy, self._seed = policy, seed
        self._weights = dict.fromkeys(names, 0.0)
        self._open = {
            # Each kind starts at another row, so that rows are used evenly.
            kind: self._broken(kind, kinds[kind], rows, _rotated(order, n * len(rows) // len(names)))
            for n, kind in enumerate(names)
        }

    def record(self, kind: str, usable: bool) -> None:
        """Record whether a program was usable; if not it counts half: the kind is tried again, but not endlessly."""
        self._weights[kind] += 1 if usable else 0.5

    def take(self, count: int) -> list[BrokenProgram]:
        """Return at most `count` more programs that fit into one request; an empty list when there are no more."""
        taken: list[BrokenProgram] = []
        characters = 0
        for broken in islice(self._proposals(), count):
            taken.append(broken)
            characters += len(broken.text)
            if characters >= CHUNK_CHARACTERS:
                break
        return taken

    def _proposals(self) -> Iterator[BrokenProgram]:
        weights = dict(self._weights)
        while self._open:
            kind = min(self._open, key=weights.__getitem__)
            broken = next(self._open[kind], None)
            if broken is None:
                del self._open[kind]
            else:
                weights[kind] += 1
                yield broken

    def _broken(
        self, kind: str, mistake: Mistake, rows: Sequence[TrainingRow], order: Sequence[int]
    ) -> Iterator[BrokenProgram]:
        misses = 0
        for row in (rows[index] for index in order):
            program = row.response.strip() + "\n"  # as a trained model writes it
            document, random = parse(program), Random(f"{self._seed} {kind} {row.id}")  # noqa: S311 - as above
            text = mistake(document, random) if _is_correct(document, self._policy) else None
            misses += 1
            if text is not None and text != program and len(text) <= MAX_TEXT:
                misses = 0
                yield BrokenProgram(row, kind, text)
            elif misses == MAX_MISSES:
                return


def _is_correct(document: Document, policy: HousePolicy | None) -> bool:
    """Return whether an answer passes Parse and, after the rewrite, Policy: only then it can be the repair."""
    if document.problems or find_secrets(document.source.decode()):
        return False
    if policy is None:
        return True
    return not check_house_policy(parse(rewrite(document, policy)), policy).broken


def _rotated(order: list[int], start: int) -> list[int]:
    return [*order[start:], *order[:start]]
