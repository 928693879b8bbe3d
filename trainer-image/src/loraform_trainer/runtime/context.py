"""The context of a stage: its run config, paths, progress and time limits."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from loraform_api.names import PORT_ENGINE, PORT_VERIFIER
from loraform_api.run import RunConfig
from loraform_trainer.runtime.group import ALONE, TrainingGroup
from loraform_trainer.runtime.paths import Paths
from loraform_trainer.runtime.progress import Progress


@dataclass(frozen=True)
class Context:
    """Everything that a stage's `run` needs; all times are in seconds."""

    config: RunConfig
    paths: Paths
    progress: Progress
    stop: threading.Event = field(default_factory=threading.Event)
    """Set by SIGTERM; `train` saves and stops at the end of its step."""
    mount_wait_seconds: float = 30.0
    """Longest wait for a mounted file: optional ConfigMaps and Secrets may appear after the pod started."""
    group: TrainingGroup = ALONE
    """The training processes of the run; only stage `train` has more than one."""
    peer_wait_seconds: float = 1800.0
    """Longest wait of a training process for the other ranks to join."""
    peer_silence_seconds: float = 60.0
    """A rank without a heartbeat for this long counts as lost."""
    sidecar_wait_seconds: float = 1200.0
    """Longest wait for the engine or the verifier to become ready."""
    engine_url: str = f"http://127.0.0.1:{PORT_ENGINE}"
    verifier_url: str = f"http://127.0.0.1:{PORT_VERIFIER}"
