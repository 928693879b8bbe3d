"""Runs a property over many generated programs on all processors, and says how to meet a failure again.

Set LORAFORM_SEED to repeat a run or to make another; LORAFORM_FUZZ_SCALE multiplies the number of cases.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ..drawn import seed
from .mutations import mutated
from .programs import Writer

SEED = seed()
SCALE = float(os.environ.get("LORAFORM_FUZZ_SCALE", "1"))
KINDS = ("sane", "odd", "damaged")
CHUNK = 500
CASE_SECONDS = 10.0
"""Processor time of one case; a usual one takes a thousandth of this."""
CHUNK_SECONDS = 600.0
"""Wall time without any news, after which a worker hangs."""
SHRINK_SECONDS = 20.0

Property = Callable[[str], object]
"""Raises for a text that breaks it; returns something true for a text that it could be asked of."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What came of some cases."""

    cases: int
    asked: int
    slowest: float
    failure: str | None


def program(case: str, kind: str) -> str:
    """Return the text of a case of one of the KINDS."""
    text = Writer(Random(case), sane=kind == "sane").program()
    if kind != "damaged":
        return text
    return mutated(Random(f"{case}-damage"), text, Writer(Random(f"{case}-other")).program())


def check(prop: Property, kind: str, cases: int) -> str:
    """Hold `prop` against so many cases. Returns a line of figures; raises AssertionError with a minimal case."""
    started = time.monotonic()
    total = max(1, int(cases * SCALE / CHUNK))
    chunks: list[Chunk] = []
    with multiprocessing.get_context("fork").Pool() as pool:
        results = pool.imap_unordered(_run_chunk, [(prop, kind, number) for number in range(total)])
        while len(chunks) < total:
            try:
                chunks.append(results.next(timeout=CHUNK_SECONDS))
            except multiprocessing.TimeoutError:
                raise AssertionError(f"no chunk of {kind} cases ended in {CHUNK_SECONDS:.0f} s; seed {SEED}") from None
            if chunks[-1].failure:
                raise AssertionError(chunks[-1].failure)
    done, seconds = sum(chunk.cases for chunk in chunks), time.monotonic() - started
    return (
        f"{prop.__name__} {kind}: {done} cases, {sum(c.asked for c in chunks)} asked, {done / seconds:.0f}/s,"
        f" slowest {max(c.slowest for c in chunks):.2f} s, seed {SEED}"
    )


def _run_chunk(task: tuple[Property, str, int]) -> Chunk:
    prop, kind, number = task
    asked, slowest = 0, 0.0
    for index in range(number * CHUNK, (number + 1) * CHUNK):
        case = f"{SEED}-{kind}-{index}"
        text = program(case, kind)
        started = time.process_time()
        complaint = None
        try:
            asked += bool(prop(text))
        except Exception as error:
            complaint = _told(error)
        seconds = time.process_time() - started
        slowest = max(slowest, seconds)
        if seconds > CASE_SECONDS:
            complaint = f"took {seconds:.1f} s"
        if complaint:
            return Chunk(CHUNK, asked, slowest, f"case {case}: {complaint}\nminimal: {minimal(prop, text)!r}")
    return Chunk(CHUNK, asked, slowest, None)


def _told(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {error} (at {frames[-1].name}, line {frames[-1].lineno})"


def minimal(prop: Property, text: str) -> str:
    """Return a smaller text that fails in the same way, as small as the time allows."""
    wanted = _failure(prop, text)
    until = time.monotonic() + SHRINK_SECONDS
    size = len(text) // 2
    while size and time.monotonic() < until:
        smaller = next((t for t in _without(text, size) if _failure(prop, t) == wanted), None)
        text, size = (text, size // 2) if smaller is None else (smaller, min(size, len(smaller)))
    return text


def _without(text: str, size: int) -> list[str]:
    return [text[:start] + text[start + size :] for start in range(0, len(text), max(1, size // 2))]


def _failure(prop: Property, text: str) -> str | None:
    try:
        prop(text)
    except Exception as error:
        return f"{type(error).__name__} {traceback.extract_tb(error.__traceback__)[-1].lineno}"
    return None
