"""Benchmark 14: answers of the gateway under load, verified by real Terraform; the engine answers at once.

    python bench/load.py --output bench/results/load.json --docs docs/benchmarks.md

1, 8 and 32 callers ask as fast as they are answered. In the first turn every answer is another program (the mix of
`validation.py`; half of them keep the house policy already), in the second the same 32 programs come again, in the
third none is verified. Costs are those of the processes of gateway and verifier with all that they start; the callers
and the engine run elsewhere. Then 62 callers leave, and one asks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
from load_world import MODEL, POLICY, Engine, World, cpu, world
from validation import program

from loraform_verifier.hcl.parse import parse
from loraform_verifier.policy.rewrite import rewrite
from loraform_verifier.terraform.toolchain import discover

CALLERS = (1, 8, 32)
SECONDS = 15
LEAVERS = 62
BEGIN, END = "<!-- bench-load -->", "<!-- /bench-load -->"
BODY = {"model": MODEL, "prompt": "Write it."}
UNVERIFIED = {**BODY, "loraform": {"verify": "off"}}


def programs() -> Iterator[str]:
    """Yield programs without end, no two alike; every second one keeps the house policy."""
    chance, number = random.Random(7), 0  # noqa: S311 - a reproducible mix
    while True:
        text = program(number, chance)
        document = parse(text)
        if number % 2 and not document.problems:
            text = rewrite(document, POLICY)
        yield text
        number += 1


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> tuple[float, str]:
    """Return the seconds of one answer and its verdict."""
    began = time.monotonic()
    async with session.post(url, json=body) as reply:
        answer = await reply.json()
    if reply.status != 200:
        return time.monotonic() - began, str(reply.status)
    return time.monotonic() - began, answer["loraform"]["verdict"]


async def load(place: World, callers: int, body: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the figures of `callers` that ask again and again for `seconds`."""
    until, latencies, verdicts = time.monotonic() + seconds, list[float](), dict[str, int]()
    began, starts = time.monotonic(), place.counts()
    gateway, verifier = cpu(place.gateway), cpu(place.verifier)

    async def call(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            took, verdict = await ask(session, place.url, body)
            latencies.append(took)
            verdicts[verdict] = verdicts.get(verdict, 0) + 1

    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        await asyncio.gather(*(call(session) for _ in range(callers)))
    wall, ended = time.monotonic() - began, place.counts()
    count, order = len(latencies), sorted(latencies)
    return {
        "callers": callers,
        "answers": count,
        "verdicts": dict(sorted(verdicts.items())),
        "answers_a_second": round(count / wall, 2),
        "p50": round(statistics.median(order), 3),
        "p99": round(order[min(count - 1, int(count * 0.99))], 3),
        "gateway_cpu": round((cpu(place.gateway) - gateway) / count, 4),
        "verifier_cpu": round((cpu(place.verifier) - verifier) / count, 4),
        "starts": {name: ended[name] - starts[name] for name in starts},
        "load": round(os.getloadavg()[0], 2),
    }


async def abandoned(place: World) -> dict[str, Any]:
    """Return the seconds of one fresh answer after `LEAVERS` callers left, and the terraform runs after they did."""
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        before = place.counts()["terraform"]
        leavers = [asyncio.create_task(ask(session, place.url, BODY)) for _ in range(LEAVERS)]
        while place.counts()["terraform"] == before:  # noqa: ASYNC110 - it waits for another process
            await asyncio.sleep(0.01)
        for leaver in leavers:
            leaver.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)
        before = place.counts()["terraform"]
        seconds, verdict = await ask(session, place.url, BODY)
    runs = place.counts()["terraform"] - before
    return {"left": LEAVERS, "seconds": round(seconds, 2), "verdict": verdict, "runs": runs}


async def measured(seconds: float) -> dict[str, Any]:
    """Return all figures."""
    engine, texts = Engine(), programs()
    with tempfile.TemporaryDirectory() as name:
        async with engine.serving():
            with world(Path(name), engine) as place:
                return await turns(place, engine, texts, seconds)


async def turns(place: World, engine: Engine, texts: Iterator[str], seconds: float) -> dict[str, Any]:
    """Return the figures of all turns in one world."""
    engine.texts = texts
    async with aiohttp.ClientSession() as session:
        first, _ = await ask(session, place.url, BODY)
    figures: dict[str, Any] = {"ready_seconds": round(place.ready_seconds, 2), "first_seconds": round(first, 2)}
    figures["distinct"] = [shown("distinct", await load(place, n, BODY, seconds)) for n in CALLERS]
    known = [next(texts) for _ in range(32)]
    engine.texts = iter(known)
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(ask(session, place.url, BODY) for _ in known))
    engine.texts = cycle(known)
    figures["repeated"] = [shown("repeated", await load(place, n, BODY, seconds / 3)) for n in CALLERS]
    figures["unverified"] = [shown("unverified", await load(place, n, UNVERIFIED, 3)) for n in CALLERS]
    engine.texts = texts
    figures["abandoned"] = shown("abandoned", await abandoned(place))
    return figures


def table(figures: dict[str, Any]) -> str:
    """Return the section for docs/benchmarks.md."""
    provider = ", ".join(f"{name} {version}" for name, version in figures["toolchain"]["providers"].items())
    lines = [f"{figures['toolchain']['terraform']}, {provider}, {figures['cores']} cores; {figures['date']}.", ""]
    heads = "Programs, Callers, Answers a second, p50 s, p99 s, CPU s an answer: verifier, gateway, Starts: terraform"
    lines += [f"| {' | '.join(heads.split(', '))} | provider | Answers | Load |", f"|{'---|' * 11}"]
    for name in ("distinct", "repeated", "unverified"):
        for e in figures[name]:
            cells = [name, e["callers"], e["answers_a_second"], e["p50"], e["p99"], e["verifier_cpu"]]
            cells += [e["gateway_cpu"], *e["starts"].values(), e["answers"], e["load"]]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    gone = figures["abandoned"]
    lines += [
        "",
        f"After {gone['left']} callers left, one fresh answer took {gone['seconds']} s and {gone['runs']} run(s)",
    ]
    lines[-1] += f" of terraform. The verifier was ready after {figures['ready_seconds']} s; the first answer took"
    lines[-1] += f" {figures['first_seconds']} s."
    return "\n".join(lines)


def shown(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Print the figures of one turn and return them."""
    print(name, json.dumps(figures), flush=True)
    return figures


def main() -> int:
    """Run all turns, print the figures and write the JSON."""
    parser = argparse.ArgumentParser(description="Measure verified answers of the gateway under load.")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--docs", type=Path, help="page whose bench-load section to replace")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="seconds of a turn (default: %(default)s)")
    options = parser.parse_args()
    toolchain = discover().provenance().model_dump(exclude={"packs"})
    figures = {"benchmark": "load", "toolchain": toolchain, "date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count()}
    figures |= asyncio.run(measured(options.seconds))
    print(json.dumps({k: figures[k] for k in ("ready_seconds", "first_seconds")}))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    if options.docs:
        before, rest = options.docs.read_text(encoding="utf-8").split(BEGIN)
        _, after = rest.split(END)
        options.docs.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
