"""Which methods an engine can serve."""

from __future__ import annotations

import pytest

from loraform_trainer.runtime.errors import InvalidConfigError
from loraform_trainer.train.method import check_method

from .estimate.base_models import run_config


def test_qlora_needs_an_engine_with_nf4() -> None:
    check_method(run_config(method="QLoRA", nf4=True))
    check_method(run_config())
    with pytest.raises(InvalidConfigError, match=r"spec\.method: 'QLoRA' needs an engine.*profile 'default' has none"):
        check_method(run_config(method="QLoRA"))
