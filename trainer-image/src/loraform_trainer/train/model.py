"""The model that is trained: a frozen base, as the engine holds it, and an adapter in float32 on it."""

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
from loraform_api.training import LoRASpec, Method, Scaling, Start, Variant
from loraform_trainer.runtime.errors import BaseModelInvalidError, InvalidConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build(config: RunConfig, base: Path, live: Path | None = None, *, attention: str | None = None) -> Any:
    """Return a PeftModel in training mode: the base in the engine's number type, or in nf4 with that as compute type.

    Only the adapter requires gradients; it is float32 whatever the base is. `live` is the folder of the live version's
    adapter: with `spec.lora.start: Live` its weights are where training begins. `attention` is transformers' name of an
    attention implementation. On a GPU the model lies on the process' current device. The global generators are seeded.

    Raises BaseModelInvalidError when the base cannot be loaded whole, InvalidConfigError when a value does not fit.
    """
    dtype = DTYPES.get(config.engine_dtype)
    if dtype is None:
        raise InvalidConfigError(f"engineDtype: {config.engine_dtype!r} is not one of {', '.join(DTYPES)}")
    frozen = load_base(base, dtype, attention, quantise=config.spec.method is Method.QLORA)
    set_seed(config.spec.training.seed)
    model: Any = adapted(frozen, config.spec.lora)
    if config.spec.lora.start is Start.LIVE and live is not None:
        _begin_with(model, live)
    return model.train()


def adapted(frozen: Any, lora: LoRASpec) -> Any:
    """Return a base with a fresh adapter on it, in float32."""
    whole = [name for name, _ in frozen.named_modules() if name.rpartition(".")[2] in lora.modules_to_save]
    shape = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        use_rslora=lora.scaling is Scaling.RANK_STABILIZED,
        use_dora=lora.variant is Variant.DORA,
        target_modules=lora.target_modules or "all-linear",
        modules_to_save=whole or None,  # whole names: to peft `norm` would mean each name that ends so
    )
    model = get_peft_model(frozen, shape, autocast_adapter_dtype=True)
    for module in model.modules():
        if isinstance(module, DoraLinearLayer):
            own: Any = module.get_weight_norm
            module.get_weight_norm = partial(_length, own)
    return model


def _length(own: Callable[..., torch.Tensor], *weights: Any, **more: Any) -> torch.Tensor:
    """Return the lengths by which DoRA divides; a row of zeros has one too, so that it stays one and is no NaN."""
    return own(*weights, **more).clamp_min(torch.finfo(torch.float32).tiny)


def load_base(
    base: Path, dtype: torch.dtype, attention: str | None = None, *, quantise: bool = False, device: str | None = None
) -> Any:
    """Return the frozen base, in nf4 where asked, on `device` or where this process trains."""
    where: Any = device or (torch.cuda.current_device() if torch.cuda.is_available() else None)
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
            device_map=None if where is None else {"": where},
        )
    except (ValueError, KeyError, OSError) as error:
        raise BaseModelInvalidError(f"the base model cannot be loaded: {error}") from error
    model, found = loaded
    if found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise BaseModelInvalidError(f"the base model's *.safetensors lack weights, for example {missing}")
    model.config.use_cache = False
    model.requires_grad_(False)  # peft's own preparation for 4 bits would also cast the rest of the base to float32
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes would rewrite 4-bit weights in place at the first evaluation, and compute otherwise after it
            module.support_avx512bf16_for_cpu = False
    return model


def _nf4(dtype: torch.dtype) -> BitsAndBytesConfig:
    """What vLLM makes of a base that it quantises itself, too."""
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call] # transformers'
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def _begin_with(model: Any, live: Path) -> None:
    """Put the live adapter's weights into a fresh one of the same shape; raises InvalidConfigError for another."""
    described: dict[str, Any] = json.loads((live / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    fresh = model.peft_config["default"]
    for field, wanted, found in (
        ("spec.lora.rank", fresh.r, described.get("r")),
        ("spec.lora.alpha", fresh.lora_alpha, described.get("lora_alpha")),
        ("spec.lora.scaling", _scaling(fresh.use_rslora), _scaling(bool(described.get("use_rslora")))),
        ("spec.lora.targetModules", sorted(fresh.target_modules), sorted(described.get("target_modules") or [])),
    ):
        if wanted != found:
            raise InvalidConfigError(
                f"{field}: this run has {wanted}, the live version has {found}; "
                "make them equal, or set `spec.lora.start: Fresh`"
            )
    try:
        result = set_peft_model_state_dict(model, load_file(live / ADAPTER_WEIGHTS))
        strangers = list(result.unexpected_keys)
    except RuntimeError as error:  # torch's word for tensors of another shape
        raise _of_another_base(str(error)) from error
    absent = [name for name in result.missing_keys if "lora_" in name]
    if strangers or absent:
        raise _of_another_base(", ".join([*strangers, *absent][:3]))


def _scaling(rank_stabilized: bool) -> str:
    return (Scaling.RANK_STABILIZED if rank_stabilized else Scaling.STANDARD).value


def _of_another_base(detail: str) -> InvalidConfigError:
    return InvalidConfigError(
        f"spec.lora.start: the live version was made for another base than `spec.baseModel` ({detail}); use 'Fresh'"
    )


def checksum(model: Any) -> list[int]:
    """Return a sum of the bit patterns of each frozen weight, 4-bit blocks and their scales too: any change shows."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    scales = [t for p in frozen for t in _scales(getattr(p, "quant_state", None))]
    return [_sum_of_bits(tensor.detach()) for tensor in [*frozen, *scales]]


def _scales(state: Any) -> list[torch.Tensor]:
    """Return the tensors that give 4-bit blocks their size: of doubly quantised ones two levels."""
    if state is None:
        return []
    return [t for level in (state, state.state2) if level is not None for t in (level.absmax, level.code)]


def _sum_of_bits(tensor: torch.Tensor) -> int:
    pattern = torch.uint8 if tensor.element_size() == 1 else torch.int16
    return int(tensor.contiguous().flatten().view(pattern).sum(dtype=torch.int64))
