"""The engine, the same for a run and its model, so that what is measured is what is served.

Both start it by `decide_engine` and `engine_container`. They differ only in what the caller of the latter passes: the
folder of the base model (workspace or claim), the mounts that hold it and the adapters, CPU and memory; and a run's
engine is a native sidecar, while a model has `serving.replicas` of them.
"""

from __future__ import annotations

from loraform_api.finetunejob import ResourcesSpec
from loraform_api.iacmodel import ServingLoRASpec
from loraform_api.meta import WireModel
from loraform_api.names import CONTAINER_ENGINE, ENGINE_MODEL, PORT_ENGINE
from loraform_api.training import Method, NumberType
from loraform_operator.kube.objects import Object
from loraform_operator.pods.parts import CONTAINER_SECURITY, resources, shm_mount, tmp_mount
from loraform_operator.pods.probes import ENGINE_START_SECONDS, loopback_probes
from loraform_operator.settings import Image, Profile

BATCH_ADAPTERS = 3
"""Adapters that one batch may use: the two of a route (live, and the one that is to replace it), and a spare one,
because an adapter that left the route stays until its streams have ended."""
KEPT_ADAPTERS = 5
"""Adapters that the engine keeps: a run loads three checkpoints and the live version, and one is spare. Without it vLLM
would drop a loaded adapter to load another."""


class EngineSettings(WireModel):
    """Everything that decides what an engine answers."""

    image: Image
    dtype: NumberType
    max_rank: int | None = None
    """Largest rank of an adapter; None: the engine loads none."""
    args: list[str]
    """Further arguments of `vllm serve`."""
    env: dict[str, str]
    gpu_resource_name: str | None = None


def decide_engine(
    profile: Profile, method: Method, lora: ServingLoRASpec | None, *, merged: bool = False
) -> EngineSettings:
    """Return the engine of a model, and of every run for it; `lora` is the model's, None for a run without one.

    A `merged` model, and the base that it is compared with, are loaded unquantised and without adapters.
    """
    nf4 = (profile.nf4_engine_args or []) if method is Method.QLORA and not merged else []
    return EngineSettings(
        image=profile.engine_image,
        dtype=profile.engine_dtype,
        max_rank=None if merged else rank_limit(profile, lora),
        args=[*profile.engine_args, *nf4],
        env=profile.engine_env,
        gpu_resource_name=profile.gpu_resource_name,
    )


def rank_limit(profile: Profile, lora: ServingLoRASpec | None) -> int:
    """Return the largest adapter rank that both the profile and the model allow."""
    return min(profile.max_lora_rank, lora.max_rank) if lora else profile.max_lora_rank


def engine_container(engine: EngineSettings, size: ResourcesSpec, *, model_path: str, mounts: list[Object]) -> Object:
    """Return the vLLM container that serves `model_path` on the pod's loopback.

    `mounts` are the volumes it reads; the pod also needs the engine's `parts.scratch_volumes`.
    """
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HOME": "/tmp",  # noqa: S108 (an emptyDir of the pod)
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_NO_USAGE_STATS": "1",
        **engine.env,
    }
    return {
        "name": CONTAINER_ENGINE,
        "image": engine.image,
        "command": _command(engine, model_path),
        "env": [{"name": k, "value": v} for k, v in sorted(environment.items())],
        **loopback_probes(PORT_ENGINE, "/health", start_seconds=ENGINE_START_SECONDS),
        "resources": resources(size.cpu, size.memory, gpu=gpu_limits(engine, 1)),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*mounts, tmp_mount(CONTAINER_ENGINE), shm_mount()],
    }


def gpu_limits(engine: EngineSettings, count: int) -> dict[str, str]:
    """Return the GPU part of a container's resources; empty where engines use the CPU."""
    return {engine.gpu_resource_name: str(count)} if engine.gpu_resource_name else {}


def _command(engine: EngineSettings, model_path: str) -> list[str]:
    adapters: list[str] = []
    if engine.max_rank is not None:
        adapters = [
            *("--enable-lora", "--max-lora-rank", str(engine.max_rank)),
            *("--max-loras", str(BATCH_ADAPTERS), "--max-cpu-loras", str(KEPT_ADAPTERS)),
        ]
    return [
        *("vllm", "serve", model_path),
        *("--served-model-name", ENGINE_MODEL),
        *("--dtype", engine.dtype),
        *adapters,
        *("--generation-config", "vllm"),
        *("--host", "127.0.0.1"),
        *("--port", str(PORT_ENGINE)),
        *engine.args,
    ]
