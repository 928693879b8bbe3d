"""Checks method and LoRA settings against the base model. The operator has checked them against the engine.

Free of torch: stage prepare calls it, before a GPU is allocated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from loraform_api.finetunejob import FineTuneJobSpec
from loraform_api.training import Method
from loraform_trainer.runtime.errors import InvalidConfigError
from loraform_trainer.runtime.model_files import check_space, weight_modules
from loraform_trainer.train.estimate.shape import EMBEDDING, HEAD

NOT_ADAPTABLE = frozenset({HEAD, EMBEDDING})
BYTES = {"Mi": 1 << 20, "Gi": 1 << 30}


def check_lora(spec: FineTuneJobSpec, base: Path) -> None:
    """Raise InvalidConfigError if the base model lacks layers that the adapter names."""
    lora = spec.lora
    layers = [layer for file in sorted(base.glob("*.safetensors")) for layer in weight_modules(file)]
    linear = {name for name, dimensions in layers if dimensions == 2} - NOT_ADAPTABLE
    _check_names("spec.lora.targetModules", "linear layer {!r} to adapt", lora.target_modules, linear)
    savable = {name for name, _ in layers} - set(lora.target_modules or linear)
    if HEAD not in savable:
        savable -= {EMBEDDING}  # the head is tied to the embedding: training one would untie them
    _check_names("spec.lora.modulesToSave", "layer {!r} that is not adapted", lora.modules_to_save, savable)


def _check_names(field: str, layer: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            allowed = ", ".join(sorted(known)[:20])
            raise InvalidConfigError(f"{field}: the base model has no {layer.format(name)}; choose from {allowed}")


def check_merge(spec: FineTuneJobSpec, base: Path, workspace: Path) -> None:
    """Raise if the merged model does not fit into the workspace or, for QLoRA, into the train pod's memory."""
    if not spec.output.merge:
        return
    size = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    check_space(size, workspace, "spec.workspace.size", "the merged model")
    memory = spec.placement.resources.memory
    if spec.method is Method.QLORA and int(memory[:-2]) * BYTES[memory[-2:]] < size:
        raise InvalidConfigError(
            f"spec.placement.resources.memory: {memory} is less than the base model's {size >> 20} MiB, and merging "
            "dequantises it in memory; raise it, or choose `spec.method: LoRA`"
        )
