"""The merged model: base and adapter as one set of weights, in a folder that any engine reads.

Each adapted weight is summed in float32 and rounded once. Of a base in 4 bits the weights that training saw are merged,
unpacked to the engine's number type, on the CPU: where 4 bits were needed, a whole model may not fit on the GPU.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file

from loraform_api.artifact import ADAPTER_WEIGHTS
from loraform_api.run import RunConfig
from loraform_api.training import Method
from loraform_trainer.runtime.context import Context
from loraform_trainer.runtime.errors import NonFiniteLossError
from loraform_trainer.runtime.files import atomic_folder
from loraform_trainer.runtime.model_files import is_weights
from loraform_trainer.train.layers.lora import ADAPTER
from loraform_trainer.train.model import DTYPES, adapted, load_base

log = logging.getLogger(__name__)

SHARD = "4GB"
INDEX = ".index.json"


def write(context: Context, model: Any) -> None:
    """Write the merged model into the workspace, whole or not at all; `model`'s own weights change where it can be so.

    `model` is the PEFT model with the adapter that lies in the workspace.
    """
    config, paths = context.config, context.paths
    log.info("merging the adapter into the base's weights")
    whole = unpacked(model, config, paths.base, paths.adapter) if config.spec.method is Method.QLORA else model
    merged = merge(whole)
    merged.config.use_cache = True
    with atomic_folder(paths.model) as partial:
        merged.save_pretrained(partial, max_shard_size=SHARD)
        for file in paths.base.iterdir():
            if not is_weights(file.name) and not file.name.endswith(INDEX) and not (partial / file.name).exists():
                shutil.copyfile(file, partial / file.name)


@torch.no_grad()
def merge(model: Any) -> Any:
    """Return the causal model in a PEFT model, its adapter merged in place; raises NonFiniteLossError for NaN."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            dtype = weight.dtype
            weight.data = weight.data.float()
            try:
                module.merge(safe_merge=True)
            except ValueError as error:
                raise NonFiniteLossError(f"the adapter cannot be merged: {error}") from error
            weight.data = weight.data.to(dtype)
        elif isinstance(module, ModulesToSaveWrapper):
            kept = next(module.original_module.parameters()).dtype
            module.modules_to_save[ADAPTER].to(kept)
    return model.unload()


@torch.no_grad()
def unpacked(model: Any, config: RunConfig, base: Path, adapter: Path) -> Any:
    """Return a PEFT model on the CPU with the base as `model` holds it in 4 bits, unpacked, and the saved adapter."""
    from bitsandbytes.functional import dequantize_4bit  # noqa: PLC0415 (for QLoRA alone)

    plain = load_base(base, DTYPES[config.engine_dtype], device="cpu")
    packed = {
        name.replace(".base_layer", ""): module.weight
        for name, module in model.get_base_model().named_modules()
        if hasattr(getattr(module, "weight", None), "quant_state")
    }
    for name, weight in packed.items():
        plain.get_submodule(name).weight.copy_(dequantize_4bit(weight.data, weight.quant_state))
    whole = adapted(plain, config.spec.lora)
    set_peft_model_state_dict(whole, load_file(adapter / ADAPTER_WEIGHTS))
    return whole
