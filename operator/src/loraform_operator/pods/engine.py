"""The engine container, the same for evaluation and serving, so that the evaluation measures what is served."""

from __future__ import annotations

from loraform_api.finetunejob import PlacementSpec
from loraform_api.names import CONTAINER_ENGINE, ENGINE_MODEL, PORT_ENGINE
from loraform_api.training import Method
from loraform_operator.kube.objects import Object
from loraform_operator.pods.parts import CONTAINER_SECURITY, resources, shm_mount, tmp_mount
from loraform_operator.settings import Profile

LOADED_ADAPTERS = 2
"""Adapters that one batch may use: the live one and the one that is loading."""


def engine_container(
    profile: Profile,
    placement: PlacementSpec,
    *,
    image: str,
    model_path: str,
    max_lora_rank: int | None,
    method: Method,
    mounts: list[Object],
) -> Object:
    """Return the vLLM container that serves `model_path` on the pod's loopback.

    It loads adapters up to `max_lora_rank`, or none when that is None. `mounts` are the volumes it reads; the pod also
    needs the engine's `parts.scratch_volumes`.
    """
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HOME": "/tmp",  # noqa: S108 (an emptyDir of the pod)
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_NO_USAGE_STATS": "1",
        **profile.engine_env,
    }
    return {
        "name": CONTAINER_ENGINE,
        "image": image,
        "command": _command(profile, model_path, max_lora_rank, method),
        "env": [{"name": k, "value": v} for k, v in sorted(environment.items())],
        "resources": resources(placement.resources.cpu, placement.resources.memory, gpu=gpu_limits(profile, 1)),
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*mounts, tmp_mount(CONTAINER_ENGINE), shm_mount()],
    }


def gpu_limits(profile: Profile, count: int) -> dict[str, str]:
    """Return the GPU part of a container's resources; empty for a CPU profile."""
    return {profile.gpu_resource_name: str(count)} if profile.gpu_resource_name else {}


def _command(profile: Profile, model_path: str, max_lora_rank: int | None, method: Method) -> list[str]:
    quantised = (profile.nf4_engine_args or []) if method is Method.QLORA else []
    adapters: list[str] = []
    if max_lora_rank is not None:
        adapters = ["--enable-lora", "--max-lora-rank", str(max_lora_rank), "--max-loras", str(LOADED_ADAPTERS)]
    return [
        *("vllm", "serve", model_path),
        *("--served-model-name", ENGINE_MODEL),
        *("--dtype", profile.engine_dtype),
        *adapters,
        *("--generation-config", "vllm"),
        *("--host", "127.0.0.1"),
        *("--port", str(PORT_ENGINE)),
        *profile.engine_args,
        *quantised,
    ]
