"""Merges base and adapter to one model in Hugging Face format.

Each adapted weight is summed in float32 and rounded once. A 4-bit base is merged as training saw it: dequantised to the
engine's dtype, on the CPU, because a model that needed 4 bits may not fit on the GPU otherwise.
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
from loraform_trainer.train.model import DTYPES, add_adapter, load_base

log = logging.getLogger(__name__)

MAX_SHARD_SIZE = "4GB"
INDEX_SUFFIX = ".index.json"


def write(context: Context, model: Any) -> None:
    """Write the merged model into the workspace, atomically.

    `model` is the PEFT model with the workspace's adapter. Unless the method is QLoRA, its own weights change.
    """
    config, paths = context.config, context.paths
    log.info("merging the adapter into the base's weights")
    if config.spec.method is Method.QLORA:
        model = dequantised(model, config, paths.base, paths.adapter)
    merged = merge(model)
    merged.config.use_cache = True
    with atomic_folder(paths.model) as partial:
        merged.save_pretrained(partial, max_shard_size=MAX_SHARD_SIZE)
        for file in paths.base.iterdir():
            if (
                not is_weights(file.name)
                and not file.name.endswith(INDEX_SUFFIX)
                and not (partial / file.name).exists()
            ):
                shutil.copyfile(file, partial / file.name)


@torch.no_grad()
def merge(model: Any) -> Any:
    """Merge a PEFT model's adapter in place and return the causal model; raises NonFiniteLossError for NaN."""
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
            dtype = next(module.original_module.parameters()).dtype
            module.modules_to_save[ADAPTER].to(dtype)
    return model.unload()


@torch.no_grad()
def dequantised(model: Any, config: RunConfig, base: Path, adapter: Path) -> Any:
    """Return a PEFT model on the CPU with `model`'s 4-bit base, dequantised, and the saved adapter."""
    from bitsandbytes.functional import dequantize_4bit  # noqa: PLC0415 (only QLoRA needs it)

    plain = load_base(base, DTYPES[config.engine_dtype], device="cpu")
    packed = {
        name.replace(".base_layer", ""): module.weight
        for name, module in model.get_base_model().named_modules()
        if hasattr(getattr(module, "weight", None), "quant_state")
    }
    for name, weight in packed.items():
        plain.get_submodule(name).weight.copy_(dequantize_4bit(weight.data, weight.quant_state))
    peft_model = add_adapter(plain, config.spec.lora)
    set_peft_model_state_dict(peft_model, load_file(adapter / ADAPTER_WEIGHTS))
    return peft_model
