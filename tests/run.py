"""Run tiers of tests one after another, print the minutes and counts of each, and say why a tier cannot run.

With CI=true a tier that cannot run is a failure: nothing is skipped silently.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("kubectl", "helm", "promtool", "tofu", "versitygw", "docker-registry")
PYTEST = [".venv/bin/pytest", "-q", "--durations=5"]


@dataclass(frozen=True)
class Tier:
    name: str
    command: list[str]
    needs_root: bool = False


TIERS = {
    tier.name: tier
    for tier in (
        Tier("lint", ["make", "--no-print-directory", "lint"]),
        Tier("verify", ["make", "--no-print-directory", "verify"]),
        Tier("unit", [*PYTEST, "tests/unit", "tests/cases"]),
        Tier("contract", [*PYTEST, "tests/contract"]),
        Tier("integration", [*PYTEST, "-m", "not vllm", "tests/integration"], needs_root=True),
        Tier("e2e", [*PYTEST, "-m", "not slow", "tests/e2e"], needs_root=True),
        Tier("long", [*PYTEST, "-m", "vllm or slow", "tests/integration", "tests/e2e", "tests/long"], needs_root=True),
    )
}


@dataclass(frozen=True)
class Outcome:
    tier: str
    minutes: float
    code: int
    counts: dict[str, int]


def run(tier: Tier, environment: dict[str, str]) -> Outcome:
    """Run one tier, passing its output through, and read pytest's closing counts from it."""
    print(f"\n=== {tier.name}: {' '.join(tier.command)}", flush=True)
    start = time.monotonic()
    if tier.needs_root and os.geteuid() != 0:
        print(f"{tier.name} cannot run: it starts a real Kubernetes, which needs root on Linux", flush=True)
        return Outcome(tier.name, 0.0, 1 if os.environ.get("CI") == "true" else 0, {})
    process = subprocess.Popen(
        tier.command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    last = ""
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        if re.search(r"\d+ (passed|failed|error|skipped)", line):
            last = line
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last)}
    code = process.wait()
    if code == 0 and counts.get("skipped") and os.environ.get("CI") == "true":
        print(f"{tier.name}: {counts['skipped']} skipped tests are a failure when CI=true", flush=True)
        code = 1
    return Outcome(tier.name, (time.monotonic() - start) / 60, code, counts)


def devcluster(*words: str) -> str:
    """Run devcluster with its progress on the terminal; return what it wrote to stdout."""
    command = [".venv/bin/python", "-m", "loraform_devcluster", *words]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def with_tools() -> dict[str, str]:
    """Return an environment whose PATH begins with the pinned tools."""
    print(f"\n=== tools: {', '.join(TOOLS)} (built once, then cached)", flush=True)
    folders = [str(Path(path).parent) for path in devcluster("tools", *TOOLS).split()]
    return {**os.environ, "PATH": os.pathsep.join([*folders, os.environ["PATH"]])}


def main(names: list[str]) -> int:
    """Run the named tiers; stop at the first that fails; print the table. CI begins and ends without a cluster."""
    ci = os.environ.get("CI") == "true"
    if ci:
        devcluster("down")
    start = time.monotonic()
    environment = with_tools()
    outcomes = [Outcome("tools", (time.monotonic() - start) / 60, 0, {})]
    for name in names:
        outcomes.append(run(TIERS[name], environment))
        if outcomes[-1].code != 0:
            break
    print("\ntier          minutes  result")
    for o in outcomes:
        counts = ", ".join(f"{n} {word}" for word, n in o.counts.items()) or ("ok" if o.code == 0 else f"exit {o.code}")
        print(f"{o.tier:<12}  {o.minutes:7.1f}  {counts}")
    passed = sum(o.counts.get("passed", 0) for o in outcomes)
    failed = sum(o.counts.get("failed", 0) + o.counts.get("error", 0) + o.counts.get("errors", 0) for o in outcomes)
    if ci:
        devcluster("down")
    bad = any(o.code != 0 for o in outcomes)
    print(f"{passed} passed, {failed or int(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
