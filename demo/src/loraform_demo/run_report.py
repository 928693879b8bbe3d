"""The figures of build/demo.json and the samples beside it. Pure but for `write`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from loraform_api.finetunejob import FineTuneJob
from loraform_api.finetunejob_status import ArmName, ArmStatus
from loraform_cli.object_state import stage_seconds


def rates(arm: ArmStatus) -> dict[str, dict[str, float]]:
    """Return an arm's rates: form (raw, served), then verification stage."""
    return {form: {rate.stage: float(getattr(rate, form)) for rate in arm.rates} for form in ("raw", "served")}


def figures(job: FineTuneJob, phases: dict[str, float]) -> dict[str, Any]:
    """Return what a finished job says of itself."""
    status = job.status
    arms = status.evaluation.arms if status.evaluation else []
    return {
        "seconds": {**phases, "total": round(sum(phases.values()), 1)},
        "stageSeconds": stage_seconds(job),
        "stages": {stage.name.value: stage.summary for stage in status.stages},
        "datasetRows": {count.name: count.rows for count in status.dataset.rows} if status.dataset else {},
        "arms": {arm.name.value: {"rows": arm.rows, **rates(arm)} for arm in arms},
        "paired": status.evaluation.paired.model_dump(by_alias=True) if status.evaluation else {},
        "parityMaxDifference": status.evaluation.parity_max_difference if status.evaluation else None,
        "adapter": status.artifact.model_dump(by_alias=True) if status.artifact else {},
        "toolchain": status.provenance.toolchain if status.provenance else "",
        "resources": machine(),
    }


def machine() -> dict[str, int]:
    """Return what this machine has: processor cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count() or 0, "memoryMiB": memory // 2**20}


def samples(rows: str) -> list[dict[str, Any]]:
    """Return one sample a suite row from the published rows (one line a row and arm): what each arm wrote, raw."""
    found: dict[str, dict[str, Any]] = {}
    for line in rows.splitlines():
        row = json.loads(line)
        sample = found.setdefault(row["id"], {"id": row["id"], "asked": row["asked"], "raw": {}})
        sample["raw"][row["arm"]] = row["raw"]
        if row["arm"] == ArmName.CANDIDATE:  # BaseWithPolicy's prompt has the policy in it
            words = (row["prompt"]["instruction"], row["prompt"]["input"])
            sample |= {"prompt": "\n\n".join(filter(None, words)), "adapterDigest": row["adapterDigest"]}
    return list(found.values())


def distinct(found: list[dict[str, Any]]) -> tuple[int, int]:
    """Return the number of distinct candidate answers and of distinct prompts."""
    prompts = {sample["prompt"] for sample in found}
    return len({sample["raw"]["Candidate"] for sample in found}), len(prompts)


def write(path: Path, content: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write JSON, or JSON lines where `content` is a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        path.write_text(json.dumps(content, indent=2) + "\n")
    else:
        path.write_text("".join(json.dumps(line) + "\n" for line in content))
