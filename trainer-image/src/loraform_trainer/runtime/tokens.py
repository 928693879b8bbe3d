"""The base model's prompter, with the errors of a stage."""

from __future__ import annotations

from pathlib import Path

from loraform_engine.prompting import BaseModelUnreadable, Prompter, load_prompter
from loraform_trainer.runtime.errors import BaseModelInvalidError


def load(base: Path) -> Prompter:
    """Return the prompter of the base model in folder `base`; raises BaseModelInvalidError and OSError."""
    try:
        return load_prompter(base)
    except BaseModelUnreadable as error:
        raise BaseModelInvalidError(str(error)) from error
