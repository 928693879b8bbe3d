"""What the methods ask of a run; free of torch, so that `prepare` can refuse before a GPU is held."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.run import RunConfig
from loraform_api.training import Method
from loraform_trainer.runtime.errors import InvalidConfigError
from loraform_trainer.runtime.model_files import check_space, weight_modules
from loraform_trainer.train.estimate.shape import EMBEDDING, HEAD

NOT_ADAPTABLE = frozenset({HEAD, EMBEDDING})
BYTES = {"Mi": 1 << 20, "Gi": 1 << 30}


def check_method(config: RunConfig) -> None:
    """Raise InvalidConfigError where the engine cannot hold the base as the method trains on it."""
    spec = config.spec
    if spec.method is Method.QLORA and not config.engine_nf4 and not spec.output.merge:
        raise InvalidConfigError(
            f"spec.method: 'QLoRA' needs an engine that holds the base in 4 bits (nf4), and profile "
            f"{spec.placement.profile!r} has none; choose 'LoRA', another `spec.placement.profile`, or "
            "`spec.output.merge: true`"
        )


def check_lora(config: RunConfig, base: Path) -> None:
    """Refuse an adapter that the engine cannot serve or that fits nothing in the staged base model."""
    spec, lora = config.spec, config.spec.lora
    if lora.rank > config.max_lora_rank and not spec.output.merge:
        raise InvalidConfigError(
            f"spec.lora.rank: {lora.rank} is more than the engine serves; at most {config.max_lora_rank} with this "
            "profile, or any with `spec.output.merge: true`"
        )
    found = [module for file in sorted(base.glob("*.safetensors")) for module in weight_modules(file)]
    linear = {name for name, dimensions in found if dimensions == 2} - NOT_ADAPTABLE
    _check_names("spec.lora.targetModules", "linear layer {!r} to adapt", lora.target_modules, linear)
    whole = {name for name, _ in found} - set(lora.target_modules or linear)
    if HEAD not in whole:
        whole -= {EMBEDDING}  # one matrix is both: trained as one it would no longer be the other
    _check_names("spec.lora.modulesToSave", "layer {!r} that is not adapted", lora.modules_to_save, whole)


def _check_names(field: str, what: str, asked: Sequence[str], known: Collection[str]) -> None:
    for name in asked:
        if name not in known:
            allowed = ", ".join(sorted(known)[:20])
            raise InvalidConfigError(f"{field}: the base model has no {what.format(name)}; it has {allowed}")


def check_merge(spec: FineTuneJobSpec, base: Path, workspace: Path) -> None:
    """Refuse a merged model that will find no room: in the workspace, and for QLoRA in the train pod's memory."""
    if not spec.output.merge:
        return
    size = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    check_space(size, workspace, "spec.workspace.size", "the merged model")
    memory = spec.placement.resources.memory
    if spec.method is Method.QLORA and int(memory[:-2]) * BYTES[memory[-2:]] < size:
        raise InvalidConfigError(
            f"spec.placement.resources.memory: {memory} is less than the base model's {size >> 20} MiB, which is "
            "unpacked in memory to be merged; raise it, or choose `spec.method: LoRA`"
        )
