"""What the methods ask of a run; free of torch, so that `prepare` can refuse before a GPU is held."""

from __future__ import annotations

from loraform_api.run import RunConfig
from loraform_api.training import Method
from loraform_trainer.errors import InvalidConfigError


def check_method(config: RunConfig) -> None:
    """Raise InvalidConfigError where the engine cannot hold the base as the method trains on it."""
    if config.spec.method is Method.QLORA and not config.engine_nf4:
        raise InvalidConfigError(
            f"spec.method: 'QLoRA' needs an engine that holds the base in 4 bits (nf4), and profile "
            f"{config.spec.placement.profile!r} has none; choose 'LoRA' or another `spec.placement.profile`"
        )
