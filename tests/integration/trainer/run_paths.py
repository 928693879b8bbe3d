"""Where a run of the tests has its files."""

from __future__ import annotations

from pathlib import Path

from loraform_trainer.runtime.paths import Paths


def paths_below(root: Path) -> Paths:
    """Return what are the mounts of a pod, as folders below `root`."""
    mounts = ("base", "output", "live", "sources", "suites", "packs")
    return Paths(
        run_config=root / "run.json",
        workspace=root / "workspace",
        termination_log=root / "termination-log",
        base_access=root / "access" / "base",
        output_access=root / "access" / "output",
        cache=root / "cache",
        **{f"{name}_mount": root / name for name in mounts},
    )
