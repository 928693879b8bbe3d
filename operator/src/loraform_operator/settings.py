"""The operator's configuration, read once from a YAML file with camelCase names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from loraform_api.meta import Name, WireModel
from loraform_api.training import NumberType

Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]


class ImageSettings(WireModel):
    """Images of the pods, other than engines."""

    trainer: Image
    """Image of the stages of a run."""
    verifier: Image
    """Image of the verifier sidecar of evaluation and gateway."""
    gateway: Image
    """Image of gateways and of the agents beside engines."""


class Profile(WireModel):
    """How engines and trainers run; users select one in `placement.profile`."""

    engine_image: Image
    """vLLM image of evaluation and serving."""
    engine_dtype: NumberType = "bfloat16"
    """Number type of the engine; the trainer loads the base in it."""
    engine_args: list[str] = []
    """Further arguments of `vllm serve`, for example `--enforce-eager`."""
    engine_env: dict[str, str] = {}
    """Further environment of the engine."""
    gpu_resource_name: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] | None = None
    """Extended resource of a GPU, for example `nvidia.com/gpu`; null where train and engine pods use the CPU."""
    nf4_engine_args: list[str] | None = None
    """Further arguments of `vllm serve` that hold the base in 4 bits (nf4), for example `--quantization bitsandbytes`;
    null where the engine cannot: FineTuneJobs with `method: QLoRA` are then refused."""
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] = 64
    """Largest adapter rank of an engine; `serving.lora.maxRank` may lower it for an IaCModel."""


class Settings(WireModel):
    """The configuration file."""

    images: ImageSettings
    profiles: Annotated[dict[Name, Profile], Field(min_length=1)]
    """Profiles by name; `default` is used when a resource names none."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Objects reconciled at the same time."""
    resync_seconds: Annotated[int, Field(ge=10)] = 600
    """Longest time between two reconciles of an object without an event."""
    progress_seconds: Annotated[int, Field(ge=1)] = 15
    """Shortest time between two status writes that change only progress."""
    heartbeat_timeout_seconds: Annotated[int, Field(ge=5)] = 15
    """A gateway or agent without a heartbeat for longer does not count."""


def unknown_profile(settings: Settings, field: str, profile: str) -> str:
    """Return the error message for a profile that is not configured; empty for one that is."""
    if profile in settings.profiles:
        return ""
    known = ", ".join(f"`{p}`" for p in sorted(settings.profiles))
    return f"{field}: the operator has no profile `{profile}`; choose one of {known}"


class SettingsError(Exception):
    """The configuration file is unreadable or invalid; the message names file, field and reason."""


def load_settings(path: Path) -> Settings:
    """Read and validate `path`; raises `SettingsError`."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {error}") from error
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(str(p) for p in e['loc']) or '(top)'}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join(lines)) from error
