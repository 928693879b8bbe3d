"""Run tiers of tests, print the minutes, counts and slowest tests of each, and say why a tier cannot run.

Tiers that neither need the cluster nor write into the checkout run beside each other; the output of each is kept whole.
With CI=true a tier that cannot run is a failure: nothing is skipped silently.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("helm", "promtool")
CLUSTER_TOOLS = (*TOOLS, "prometheus", "kubectl", "tofu", "versitygw", "docker-registry")
MAKE = ["make", "--no-print-directory"]
PYTEST = [".venv/bin/pytest", "-q", "--durations=10", "--durations-min=0.1"]
BY_FILE = ["-n", "2", "--no-loadscope-reorder"]
"""Two workers, dealt to as tests/integration/conftest.py says."""
SHOWN_SLOWEST, MOST_SECONDS = 5, 20.0
"""Tests named below a tier's line, and what one of them may take unless its tier says otherwise."""


@dataclass(frozen=True)
class Tier:
    name: str
    command: list[str]
    needs_root: bool = False
    beside: bool = False
    most_seconds: float = MOST_SECONDS


TIERS = {
    tier.name: tier
    for tier in (
        Tier("verify", [*MAKE, "verify"]),
        Tier("lint", [*MAKE, "lint"], beside=True),
        Tier("unit", [*PYTEST, "tests/unit", "tests/cases"], beside=True),
        Tier("contract", [*PYTEST, "tests/contract"], beside=True),
        Tier(
            "integration",
            [*PYTEST, *BY_FILE, "-m", "not vllm and not slow and not chaos", "tests/integration"],
            needs_root=True,
        ),
        Tier("chaos", [*PYTEST, "-m", "chaos", "tests/integration"], needs_root=True, most_seconds=120.0),
        Tier("e2e", [*PYTEST, "-m", "not slow", "tests/e2e"], needs_root=True, most_seconds=float("inf")),
        Tier(
            "long",
            [*PYTEST, "-m", "vllm or slow", "tests/integration", "tests/e2e", "tests/long"],
            needs_root=True,
            most_seconds=float("inf"),
        ),
    )
}


@dataclass(frozen=True)
class Outcome:
    tier: str
    minutes: float
    code: int
    counts: dict[str, int] = field(default_factory=dict)
    slowest: list[tuple[float, str, str]] = field(default_factory=list)
    """Seconds, phase (setup, call or teardown) and test, the slowest first."""


def run(tier: Tier, environment: dict[str, str], write: Callable[[str], object]) -> Outcome:
    """Run one tier, passing each line of its output to `write`, and read pytest's closing lines from it."""
    write(f"\n=== {tier.name}: {' '.join(tier.command)}\n")
    start = time.monotonic()
    if tier.needs_root and os.geteuid() != 0:
        write(f"{tier.name} cannot run: it starts a real Kubernetes, which needs root on Linux\n")
        return Outcome(tier.name, 0.0, 1 if os.environ.get("CI") == "true" else 0)
    process = subprocess.Popen(
        tier.command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    last, slowest = "", []
    assert process.stdout is not None
    for line in process.stdout:
        write(line)
        if re.search(r"\d+ (passed|failed|error|skipped)", line):
            last = line
        if timing := re.match(r"([\d.]+)s (setup|call|teardown) +(\S.*)", line):
            slowest.append((float(timing[1]), timing[2], timing[3]))
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last)}
    code = process.wait()
    if code == 0 and counts.get("skipped") and os.environ.get("CI") == "true":
        write(f"{tier.name}: {counts['skipped']} skipped tests are a failure when CI=true\n")
        code = 1
    return Outcome(tier.name, (time.monotonic() - start) / 60, code, counts, slowest)


def run_beside(tiers: list[Tier], environment: dict[str, str]) -> list[Outcome]:
    """Run tiers at once, and print the output of each whole as soon as it ended."""

    def run_and_print(tier: Tier) -> Outcome:
        lines: list[str] = []
        outcome = run(tier, environment, lines.append)
        print_now("".join(lines))
        return outcome

    with ThreadPoolExecutor(len(tiers)) as pool:
        return list(pool.map(run_and_print, tiers))


def print_now(text: str) -> None:
    print(text, end="", flush=True)


def devcluster(*words: str) -> str:
    """Run devcluster with its progress on the terminal; return what it wrote to stdout."""
    command = [".venv/bin/python", "-m", "loraform_devcluster", *words]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def with_tools(names: tuple[str, ...]) -> dict[str, str]:
    """Return an environment whose PATH begins with the pinned tools."""
    print_now(f"\n=== tools: {', '.join(names)} (built once, then cached)\n")
    folders = [str(Path(path).parent) for path in devcluster("tools", *names).split()]
    return {**os.environ, "PATH": os.pathsep.join([*folders, os.environ["PATH"]])}


def print_table(outcomes: list[Outcome]) -> None:
    """Print minutes and counts by tier, the slowest tests of each, and a warning for each test that is too slow."""
    print("\ntier          minutes  result")
    for o in outcomes:
        counts = ", ".join(f"{n} {word}" for word, n in o.counts.items()) or ("ok" if o.code == 0 else f"exit {o.code}")
        print(f"{o.tier:<12}  {o.minutes:7.1f}  {counts}")
        for seconds, phase, test in o.slowest[:SHOWN_SLOWEST]:
            print(f"{seconds:19.1f} s  {phase:<8}  {test}")
    for o in outcomes:
        most = TIERS[o.tier].most_seconds if o.tier in TIERS else MOST_SECONDS
        for seconds, phase, test in o.slowest:
            if phase == "call" and seconds > most:
                print(f"above {most:.0f} s: {test} {seconds:.1f} s")


def main(names: list[str]) -> int:
    """Run the named tiers; stop at the first that fails; print the table. CI begins and ends without a cluster."""
    # Ctrl-C reaches the tier too, which cleans up and ends; this process then prints what there is.
    signal.signal(signal.SIGINT, lambda *_: None)
    ci = os.environ.get("CI") == "true"
    if ci:
        devcluster("down")
    start = time.monotonic()
    chosen = [TIERS[name] for name in names]
    environment = with_tools(CLUSTER_TOOLS if any(tier.needs_root for tier in chosen) else TOOLS)
    outcomes = [Outcome("tools", (time.monotonic() - start) / 60, 0)]
    for group in [list(tiers) for _, tiers in groupby(chosen, lambda tier: "beside" if tier.beside else tier.name)]:
        outcomes += run_beside(group, environment) if len(group) > 1 else [run(group[0], environment, print_now)]
        if any(o.code != 0 for o in outcomes):
            break
    print_table(outcomes)
    print(f"{'all':<12}  {(time.monotonic() - start) / 60:7.1f}")
    passed = sum(o.counts.get("passed", 0) for o in outcomes)
    failed = sum(o.counts.get("failed", 0) + o.counts.get("error", 0) + o.counts.get("errors", 0) for o in outcomes)
    if ci:
        devcluster("down")
    bad = any(o.code != 0 for o in outcomes)
    print(f"{passed} passed, {failed or int(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
