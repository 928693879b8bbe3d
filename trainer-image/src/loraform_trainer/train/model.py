"""Builds the model to train: a frozen base in the engine's precision with a float32 adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora.dora import DoraLinearLayer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed

from loraform_api.artifact import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from loraform_api.run import RunConfig
from loraform_api.training import LoRASpec, Method, NumberType, Scaling, Start, Variant
from loraform_trainer.runtime.errors import BaseModelInvalidError, InvalidConfigError

DTYPES: dict[NumberType, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build(config: RunConfig, base: Path, live: Path | None = None, *, attention: str | None = None) -> Any:
    """Return a PeftModel in training mode: the base in the engine's dtype, or in nf4 with that as compute dtype.

    Only the adapter requires gradients; it is float32 for any base. `live` is the folder of the live version's adapter,
    whose weights training starts from with `spec.lora.start: Live`. `attention` is transformers' name of an attention
    implementation. On a GPU the model is on the process' current device. Seeds the global random generators.

    Raises BaseModelInvalidError if the base cannot be loaded completely, InvalidConfigError for a value that does not
    fit it.
    """
    quantise = config.spec.method is Method.QLORA
    frozen = load_base(base, DTYPES[config.engine_dtype], attention, quantise=quantise)
    set_seed(config.spec.training.seed)
    model: Any = add_adapter(frozen, config.spec.lora)
    if config.spec.lora.start is Start.LIVE and live is not None:
        _load_live(model, live)
    return model.train()


def add_adapter(frozen: Any, lora: LoRASpec) -> Any:
    """Return a PEFT model of the base with a fresh float32 adapter."""
    saved_modules = [name for name, _ in frozen.named_modules() if name.rpartition(".")[2] in lora.modules_to_save]
    lora_config = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        use_rslora=lora.scaling is Scaling.RANK_STABILIZED,
        use_dora=lora.variant is Variant.DORA,
        target_modules=lora.target_modules or "all-linear",
        modules_to_save=saved_modules or None,  # full names: peft takes `norm` as a suffix of names
    )
    model = get_peft_model(frozen, lora_config, autocast_adapter_dtype=True)
    for module in model.modules():
        if isinstance(module, DoraLinearLayer):
            original: Any = module.get_weight_norm
            module.get_weight_norm = partial(_nonzero_norm, original)
    return model


def _nonzero_norm(get_weight_norm: Callable[..., torch.Tensor], *args: Any, **kwargs: Any) -> torch.Tensor:
    """Return the norms by which DoRA divides, at least the smallest normal float32: a row of zeros gives no NaN."""
    return get_weight_norm(*args, **kwargs).clamp_min(torch.finfo(torch.float32).tiny)


def load_base(
    base: Path, dtype: torch.dtype, attention: str | None = None, *, quantise: bool = False, device: str | None = None
) -> Any:
    """Return the frozen base, in nf4 if `quantise`, on `device` or on the device of this process."""
    target: Any = device or (torch.cuda.current_device() if torch.cuda.is_available() else None)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            attn_implementation=attention,
            quantization_config=_nf4(dtype) if quantise else None,
            device_map=None if target is None else {"": target},
        )
    except (ValueError, KeyError, OSError) as error:
        raise BaseModelInvalidError(f"the base model cannot be loaded: {error}") from error
    model, loading_info = loaded
    if loading_info["missing_keys"]:
        missing = ", ".join(sorted(loading_info["missing_keys"])[:3])
        raise BaseModelInvalidError(f"the base model's *.safetensors lack weights, for example {missing}")
    model.config.use_cache = False
    model.requires_grad_(False)  # peft's prepare_model_for_kbit_training would also cast other weights to float32
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # otherwise bitsandbytes repacks 4-bit weights in place at the first evaluation and computes differently
            module.support_avx512bf16_for_cpu = False
    return model


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    """Return the quantisation that vLLM applies to a base, too."""
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call] # transformers'
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _load_live(model: Any, live: Path) -> None:
    """Load the live adapter's weights into the model's; raises InvalidConfigError unless their settings are equal."""
    live_config: dict[str, Any] = json.loads((live / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    own_config = model.peft_config["default"]
    for field, own_value, live_value in (
        ("spec.lora.rank", own_config.r, live_config.get("r")),
        ("spec.lora.alpha", own_config.lora_alpha, live_config.get("lora_alpha")),
        ("spec.lora.scaling", _scaling(own_config.use_rslora), _scaling(bool(live_config.get("use_rslora")))),
        ("spec.lora.targetModules", sorted(own_config.target_modules), sorted(live_config.get("target_modules") or [])),
    ):
        if own_value != live_value:
            raise InvalidConfigError(
                f"{field}: this run has {own_value}, the live version has {live_value}; "
                "make them equal, or set `spec.lora.start: Fresh`"
            )
    try:
        result = set_peft_model_state_dict(model, load_file(live / ADAPTER_WEIGHTS))
        unexpected = list(result.unexpected_keys)
    except RuntimeError as error:  # tensors of another shape
        raise _other_base_error(str(error)) from error
    missing = [name for name in result.missing_keys if "lora_" in name]
    if unexpected or missing:
        raise _other_base_error(", ".join([*unexpected, *missing][:3]))


def _scaling(rank_stabilized: bool) -> str:
    return (Scaling.RANK_STABILIZED if rank_stabilized else Scaling.STANDARD).value


def _other_base_error(detail: str) -> InvalidConfigError:
    return InvalidConfigError(
        f"spec.lora.start: the live version was trained on another base than `spec.baseModel` ({detail}); use 'Fresh'"
    )


def checksum(model: Any) -> list[int]:
    """Return the sum of the bit patterns of each frozen weight, and of the scales of 4-bit weights."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    scales = [t for p in frozen for t in _scales(getattr(p, "quant_state", None))]
    return [_sum_of_bits(tensor.detach()) for tensor in [*frozen, *scales]]


def _scales(state: Any) -> list[torch.Tensor]:
    """Return the scales of a 4-bit weight, on both levels of its double quantisation."""
    if state is None:
        return []
    return [t for level in (state, state.state2) if level is not None for t in (level.absmax, level.code)]


def _sum_of_bits(tensor: torch.Tensor) -> int:
    pattern = torch.uint8 if tensor.element_size() == 1 else torch.int16
    return int(tensor.contiguous().flatten().view(pattern).sum(dtype=torch.int64))
