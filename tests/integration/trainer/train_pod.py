"""The train container of a pod as a forked process: transformers is imported once, by the fork server."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from loraform_trainer.__main__ import main


def run(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Be the container: its arguments, its environment, its log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(main(arguments))
