"""Processes forked from one that has imported what training needs: the import takes many seconds of a CPU."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

FORKS = multiprocessing.get_context("forkserver")
Import = Callable[[str], ModuleType]


@contextmanager
def importing() -> Iterator[Import]:
    """Give a function that imports a module of this folder by a name that forked processes know too.

    The fork server is one for all files of tests: whoever starts it first decides what it has imported.
    """
    FORKS.set_forkserver_preload(["loraform_trainer.train.stage", "loraform_trainer.train.peers.distributed"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module
