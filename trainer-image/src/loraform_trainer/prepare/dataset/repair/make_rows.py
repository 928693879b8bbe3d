"""Repair rows: as input a program with one mistake and what the verifier says of it, as answer the program as it was.

They make Reflexion trainable, so the input is what a model is given at serving time, byte for byte: the program as it
would be served, judged by the stages that serving asks, rendered by the function that serving and evaluation use. A
mistake that the verifier lets pass teaches nothing and is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random

from loraform_api.verification import HousePolicy, Program, ProgramVerdict, VerifyRequest, stages_without_plan
from loraform_trainer.prepare.dataset.repair import mistakes
from loraform_trainer.prepare.dataset.repair.edits import Breakage
from loraform_trainer.prepare.dataset.validity import CHUNK, CHUNK_CHARACTERS, Verify
from loraform_trainer.runtime.rows import MAX_TEXT, Row
from loraform_verifier.hcl.parse import Document, parse
from loraform_verifier.policy.house_policy import judge
from loraform_verifier.policy.rewrite import rewrite
from loraform_verifier.reflexion import Candidate, repair_input

TRIES = 4
"""Broken programs that are made at most for each row wanted."""
BARREN = 2000
"""Programs in a row without a place for a kind of mistake, after which it is looked for no more."""
SEPARATOR = "#"
"""Between the id of a row and the kind of mistake, in the id of a repair row."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of it."""

    rows: tuple[Row, ...] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Rows by kind of mistake."""
    not_refused: int = 0
    """Broken programs that the verifier let pass, or of which it could not decide."""
    too_long: int = 0
    missing: int = 0
    """Rows that were wanted beyond those that could be made."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A row's program with one mistake."""

    row: Row
    kind: str
    text: str


def repair_rows(
    rows: Sequence[Row],
    percent: int,
    *,
    verify: Verify,
    policy: HousePolicy | None,
    fits: Callable[[Row], bool],
    seed: int,
) -> Repaired:
    """Return `percent` repair rows for every hundred of `rows`, of as many kinds as the programs have places for.

    `rows` are training rows whose programs passed the verifier; the same rows and seed give the same repair rows.
    `fits` says whether a row is short enough to train on. Errors are those of `verify`.
    """
    wanted = (len(rows) * percent + 50) // 100
    queue = _Queue(rows, policy, seed)
    kept: list[Row] = []
    not_refused = too_long = tried = 0
    while len(kept) < wanted and tried < TRIES * wanted:
        proposed = queue.take(min(wanted - len(kept), CHUNK))
        if not proposed:
            break
        tried += len(proposed)
        for broken, verdict in zip(proposed, _judged(proposed, verify, policy), strict=True):
            made = repair_row(broken, verdict)
            good = made is not None and fits(made)
            if made is None:
                not_refused += 1
            elif good:
                kept.append(made)
            else:
                too_long += 1
            queue.tell(broken.kind, good)
    kinds = Counter(row.id.rpartition(SEPARATOR)[2] for row in kept)
    return Repaired(tuple(kept), dict(kinds), not_refused, too_long, wanted - len(kept))


def repair_row(broken: Broken, verdict: ProgramVerdict) -> Row | None:
    """Return the row that teaches to repair; None when the verifier found nothing wrong that it is sure of."""
    candidate = Candidate.served(broken.text, verdict)
    if not candidate.findings:
        return None
    given = repair_input(broken.row.input, candidate)
    return replace(broken.row, id=f"{broken.row.id}{SEPARATOR}{broken.kind}", input=given)


def _judged(proposed: Sequence[Broken], verify: Verify, policy: HousePolicy | None) -> list[ProgramVerdict]:
    programs = [Program(id=str(number), text=broken.text) for number, broken in enumerate(proposed)]
    request = VerifyRequest(
        programs=programs, stages=stages_without_plan(policy), policy=policy, rewrite=policy is not None
    )
    found = {verdict.id: verdict for verdict in verify(request).verdicts}
    return [found[program.id] for program in programs]


class _Queue:
    """Broken programs in an order that the seed decides: of the rarest kind first, each row once for each kind."""

    def __init__(self, rows: Sequence[Row], policy: HousePolicy | None, seed: int) -> None:
        kinds = mistakes.kinds(policy)
        random = Random(seed)  # noqa: S311 - draws to be repeated, not secrets
        order = random.sample(range(len(rows)), len(rows))
        names = random.sample(sorted(kinds), len(kinds))
        self._policy, self._seed = policy, seed
        self._weights = dict.fromkeys(names, 0.0)
        self._open = {
            # Kinds begin at different rows, so that all rows are used before one is used twice.
            kind: self._broken(kind, kinds[kind], rows, _turned(order, n * len(rows) // len(names)))
            for n, kind in enumerate(names)
        }

    def tell(self, kind: str, good: bool) -> None:
        """Hear what came of a program. A failure counts half: the kind is tried more, but not for ever."""
        self._weights[kind] += 1 if good else 0.5

    def take(self, count: int) -> list[Broken]:
        """Return up to `count` more programs, as many as one request takes; none when there are no more."""
        taken: list[Broken] = []
        size = 0
        for broken in islice(self._proposals(), count):
            taken.append(broken)
            size += len(broken.text)
            if size >= CHUNK_CHARACTERS:
                break
        return taken

    def _proposals(self) -> Iterator[Broken]:
        weights = dict(self._weights)
        while self._open:
            kind = min(self._open, key=weights.__getitem__)
            broken = next(self._open[kind], None)
            if broken is None:
                del self._open[kind]
            else:
                weights[kind] += 1
                yield broken

    def _broken(self, kind: str, mistake: Breakage, rows: Sequence[Row], order: Sequence[int]) -> Iterator[Broken]:
        barren = 0
        for row in (rows[index] for index in order):
            program = row.response.strip() + "\n"  # as a model that has learnt it writes it
            document, random = parse(program), Random(f"{self._seed} {kind} {row.id}")  # noqa: S311 - as above
            text = mistake(document, random) if _right(document, self._policy) else None
            barren += 1
            if text is not None and text != program and len(text) <= MAX_TEXT:
                barren = 0
                yield Broken(row, kind, text)
            elif barren == BARREN:
                return


def _right(document: Document, policy: HousePolicy | None) -> bool:
    """Say whether an answer, as it would be served, keeps the policy: what it breaks, no repair could learn from it."""
    if document.problems or policy is None:
        return not document.problems
    return not judge(parse(rewrite(document, policy)), policy).broken


def _turned(order: list[int], start: int) -> list[int]:
    return [*order[start:], *order[:start]]
