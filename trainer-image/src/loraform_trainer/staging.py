"""Copies of base model and live adapter in the workspace: safetensors and JSON only, digested, refused when unsafe."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraform_api.artifact import ADAPTER_FILES, PARITY_FILE, adapter_digest
from loraform_api.finetunejob import LoRASpec
from loraform_api.run import LiveAdapter
from loraform_trainer.errors import (
    BaseModelInvalidError,
    InvalidConfigError,
    MissingReferenceError,
    WorkspaceFullError,
)
from loraform_trainer.files import copy_hashed, inside, sha256_file, tree_digest

REQUIRED = ("config.json", "tokenizer.json")
ALLOWED = re.compile(
    r"config\.json|generation_config\.json|tokenizer[\w.-]*\.json|special_tokens_map\.json|added_tokens\.json"
    r"|[\w.-]+\.safetensors|[\w.-]+\.safetensors\.index\.json"
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
MAX_HEADER_BYTES = 100 << 20
NOT_ADAPTABLE = frozenset({"lm_head", "embed_tokens"})


@dataclass(frozen=True)
class BaseModel:
    digest: str
    """Digest of the copied files."""
    max_positions: int | None
    """Longest sequence the model was made for, where its config says it."""


def split_uri(storage_uri: str) -> tuple[str, str]:
    """Return (claim, folder) of a `pvc://` URI."""
    claim, _, folder = storage_uri.removeprefix("pvc://").partition("/")
    return claim, folder.strip("/")


def stage_base(mount: Path, storage_uri: str, target: Path) -> BaseModel:
    """Copy the base model's allowed files; raises StageError when it is absent, unsafe or too large."""
    claim, folder = split_uri(storage_uri)
    source = inside(mount, folder)
    if source is None or not source.is_dir():
        raise MissingReferenceError(
            f"spec.baseModel.storageUri: folder {folder or '/'!r} was not found in PersistentVolumeClaim {claim!r}"
        )
    files = _base_files(source, storage_uri)
    config = _safe_config(source, files)
    _check_space(files, target)
    shutil.rmtree(target, ignore_errors=True)
    digests = {}
    for file in files:
        with file.open("rb") as stream:
            digests[file.name] = copy_hashed(stream, target / file.name)
    positions = config.get("max_position_embeddings")
    return BaseModel(tree_digest(digests), positions if isinstance(positions, int) else None)


def _base_files(source: Path, storage_uri: str) -> list[Path]:
    entries = sorted(source.iterdir())
    names = {e.name for e in entries}
    for name in REQUIRED:
        if name not in names:
            raise BaseModelInvalidError(f"spec.baseModel.storageUri: {storage_uri} has no {name}")
    if not any(name.endswith(".safetensors") for name in names):
        pickles = sorted(name for name in names if name.endswith(PICKLES))
        found = f" (found {', '.join(pickles[:3])}: convert it to safetensors, pickles are refused)" if pickles else ""
        raise BaseModelInvalidError(f"spec.baseModel.storageUri: {storage_uri} has no *.safetensors file{found}")
    files = [e for e in entries if ALLOWED.fullmatch(e.name)]
    for file in files:
        if file.is_symlink() or not file.is_file():
            raise BaseModelInvalidError(
                f"spec.baseModel.storageUri: {file.name} in {storage_uri} is not a regular file: copy it with `cp -L`"
            )
    return files


def _safe_config(source: Path, files: list[Path]) -> dict[str, Any]:
    """Return config.json; refuse any JSON file that names code to be loaded."""
    parsed: dict[str, Any] = {}
    for file in files:
        if not file.name.endswith("config.json"):
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BaseModelInvalidError(f"{file.name} of the base model is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise BaseModelInvalidError(f"{file.name} of the base model is not a JSON object")
        if "auto_map" in content:
            raise BaseModelInvalidError(
                f"{file.name} of the base model has `auto_map`: models that bring their own code are refused"
            )
        parsed[file.name] = content
    config: dict[str, Any] = parsed["config.json"]
    if not config.get("architectures"):
        raise BaseModelInvalidError("config.json of the base model has no `architectures`")
    return config


def _check_space(files: list[Path], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    needed, free = sum(f.stat().st_size for f in files), shutil.disk_usage(target.parent).free
    if needed > free:
        raise WorkspaceFullError(
            f"spec.workspace.size: the base model has {needed >> 20} MiB, but only {free >> 20} MiB are free"
        )


def check_lora(lora: LoRASpec, max_rank: int, base: Path) -> None:
    """Refuse an adapter that the engine cannot serve or that fits nothing in the base model."""
    if lora.rank > max_rank:
        raise InvalidConfigError(
            f"spec.lora.rank: {lora.rank} is more than the engine serves; at most {max_rank} with this profile"
        )
    known = {name for file in sorted(base.glob("*.safetensors")) for name in _linear_modules(file)}
    for module in lora.target_modules:
        if module in NOT_ADAPTABLE or module not in known:
            allowed = ", ".join(sorted(known - NOT_ADAPTABLE)[:20])
            raise InvalidConfigError(
                f"spec.lora.targetModules: the base model has no linear layer {module!r} to adapt; it has {allowed}"
            )


def _linear_modules(file: Path) -> Iterator[str]:
    """Yield the last name of each matrix in a safetensors file, from its header alone."""
    try:
        with file.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {size} bytes")
            header: dict[str, Any] = json.loads(stream.read(size))
        for key, entry in header.items():
            if key.endswith(".weight") and len(entry.get("shape", ())) == 2:
                yield key.split(".")[-2]
    except (ValueError, struct.error, AttributeError, IndexError) as error:
        raise BaseModelInvalidError(f"{file.name} of the base model is not a safetensors file: {error}") from error


def stage_live(mount: Path, live: LiveAdapter, target: Path) -> None:
    """Copy the live version's adapter; raises MissingReferenceError when it is absent or not what the version says."""
    source = inside(mount, live.path)
    what = f"the live version {live.version} ({live.path} in its claim)"
    if source is None or not all((source / name).is_file() for name in ADAPTER_FILES):
        raise MissingReferenceError(f"{what} has no {' and '.join(ADAPTER_FILES)}")
    shutil.rmtree(target, ignore_errors=True)
    digests = {}
    for name in (*ADAPTER_FILES, PARITY_FILE):
        if (source / name).is_file():
            with (source / name).open("rb") as stream:
                digests[name] = copy_hashed(stream, target / name)
    found = adapter_digest(digests)
    if found != live.digest:
        raise MissingReferenceError(f"{what} has digest {found}, but the version says {live.digest}")


def digest_of(folder: Path) -> str:
    """Return the digest of an adapter's folder."""
    return adapter_digest({name: sha256_file(folder / name) for name in ADAPTER_FILES})
