"""A group of one process."""

from __future__ import annotations

from loraform_trainer.runtime.group import ALONE


def test_collectives_of_one_process_return_their_argument() -> None:
    assert (ALONE.any(True), ALONE.any(False)) == (True, False)
    assert ALONE.share("mine") == "mine"
    assert ALONE.is_main
