"""Second half of benchmark 6: stage `prepare` as in its pod, once without and once with the cache."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from data_rows import dataset, row, write

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "demo" / "base-model"
CAPACITY = 2048
"""Maximum tokens of a row and of a pack."""
SUITE_ROWS = 250
IMPORTED = "import time, loraform_trainer.__main__, loraform_trainer.prepare.stage; print(time.process_time())"
"""Prints the CPU seconds of Python's start and the stage's imports."""
MEASURED = """
import re, sys, time
from loraform_trainer.__main__ import main
status = main(sys.argv[1:])
print(time.process_time(), re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(status)
"""
"""Runs the stage and prints its CPU seconds, start and imports included, and its peak memory (rusage's would include
the memory of this process at the fork)."""


def prepared(size: int, folder: Path, verifier: str | None) -> dict[str, Any]:
    """Run `prepare` twice on `size` rows; the second run has an empty workspace and the first run's cache."""
    write(_ensure_folder(folder / "sources" / "rows") / "rows.jsonl", dataset(size)[0])
    chance = Random(250)  # noqa: S311 - a reproducible suite
    suite = ({"id": f"suite-{i}", **row(chance)} for i in range(SUITE_ROWS))
    write(_ensure_folder(folder / "suites" / "held-out") / "suite.jsonl", suite)
    (folder / "run.json").write_text(json.dumps(_config(validated=verifier is not None)))
    first = _stage(folder, "first", verifier)
    second = _stage(folder, "second", verifier)
    result = json.loads((folder / "first" / "reports" / "prepare.json").read_text())["prepare"]
    same = all(
        (folder / "first" / "data" / name).read_bytes() == (folder / "second" / "data" / name).read_bytes()
        for name in ("train.arrow", "validation.arrow", "selection.jsonl", "suite.jsonl")
    )
    share = round(100 * second["cpu"] / first["cpu"], 2)
    return {
        "rows": size,
        "validated": verifier is not None,
        "first": first,
        "second": second,
        "second_percent": share,
        "start_cpu": start_cpu(),
        "same_files": same,
        "counts": result["rows"],
        "tokens": result["tokens"],
    }


def start_cpu() -> float:
    """Return the CPU seconds of Python's start and the stage's imports."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], check=True, capture_output=True, text=True)
    return round(float(done.stdout), 2)


def _ensure_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _config(*, validated: bool) -> dict[str, Any]:
    source = {"name": "rows", "configMap": {"name": "rows", "key": "rows.jsonl"}}
    checks = {} if validated else {"validity": "Off"}
    spec = {
        "baseModel": {"storageUri": "pvc://models/base-model"},
        "dataset": {"sources": [source], "checks": checks},
        "evaluation": {"suites": [{"name": "held-out", "configMap": {"name": "suite", "key": "suite.jsonl"}}]},
        "output": {"storageUri": "pvc://artifacts/adapters"},
        "training": {"maxSequenceLength": CAPACITY},
        "cache": {"claimName": "cache"},
    }
    images = dict.fromkeys(("trainer", "verifier", "engine"), "none")
    return {"namespace": "bench", "name": "data", "uid": "1", "spec": spec, "images": images,
            "engineDtype": "float32"}  # fmt: skip


def _stage(folder: Path, name: str, verifier: str | None) -> dict[str, float]:
    """Run the stage in a process; return its CPU and wall seconds, and its peak memory in MiB."""
    mounts = {
        "run-config": folder / "run.json", "workspace": _ensure_folder(folder / name), "base-mount": BASE.parent,
        "sources-mount": folder / "sources", "suites-mount": folder / "suites", "cache": folder / "cache",
        "termination-log": folder / "termination-log",
    }  # fmt: skip
    options = [f"--{option}={path}" for option, path in mounts.items()]
    if verifier is not None:
        options.append(f"--verifier-url={verifier}")
    started = time.monotonic()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", MEASURED, "prepare", *options], stdout=subprocess.PIPE, stderr=log, text=True
        )
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit((folder / f"{name}.log").read_text()[-2000:])
    seconds, peak = output.split()[-2:]
    return {
        "cpu": round(float(seconds), 2),
        "wall": round(time.monotonic() - started, 1),
        "peak_mib": int(peak) // 1024,
    }
