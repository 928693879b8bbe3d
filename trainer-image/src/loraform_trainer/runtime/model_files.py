"""Selects the files of a base model and rejects unsafe ones before any library loads them."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from loraform_trainer.runtime.errors import BaseModelInvalidError, WorkspaceFullError

FIELD = "spec.baseModel.storageUri"
REQUIRED = ("config.json", "tokenizer.json")
ALLOWED = re.compile(
    r"config\.json|generation_config\.json|tokenizer[\w.-]*\.json|special_tokens_map\.json|added_tokens\.json"
    r"|chat_template\.jinja"
    r"|[\w.-]+\.safetensors|[\w.-]+\.safetensors\.index\.json"
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
MAX_HEADER_BYTES = 100 << 20


def select_files(names: Iterable[str], storage_uri: str) -> list[str]:
    """Return the names of the files to copy, weights last; raises BaseModelInvalidError for a missing file."""
    existing = sorted(names)
    for name in REQUIRED:
        if name not in existing:
            raise BaseModelInvalidError(f"{FIELD}: {storage_uri} has no {name}")
    if not any(name.endswith(".safetensors") for name in existing):
        pickles = [name for name in existing if name.endswith(PICKLES)]
        hint = f" (found {', '.join(pickles[:3])}: convert it to safetensors, pickles are refused)" if pickles else ""
        raise BaseModelInvalidError(f"{FIELD}: {storage_uri} has no *.safetensors file{hint}")
    return sorted((name for name in existing if ALLOWED.fullmatch(name)), key=is_weights)


def is_weights(name: str) -> bool:
    """Return whether a file holds weights."""
    return name.endswith(".safetensors")


def check_settings(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the content of config.json; raises BaseModelInvalidError for invalid config files and ones with code."""
    parsed: dict[str, Any] = {}
    for name in names:
        if not name.endswith("config.json"):
            continue
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise BaseModelInvalidError(f"{name} of the base model is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise BaseModelInvalidError(f"{name} of the base model is not a JSON object")
        if "auto_map" in content:
            raise BaseModelInvalidError(
                f"{name} of the base model has `auto_map`: models with code of their own are refused"
            )
        parsed[name] = content
    config: dict[str, Any] = parsed["config.json"]
    if not config.get("architectures"):
        raise BaseModelInvalidError("config.json of the base model has no `architectures`")
    return config


def check_weights(folder: Path, names: Iterable[str]) -> None:
    """Raise BaseModelInvalidError for a weights file without a valid safetensors header."""
    for name in names:
        if is_weights(name):
            safetensors_header(folder / name)


def safetensors_header(file: Path) -> Mapping[str, Any]:
    """Return the header of a safetensors file: `{"dtype", "shape", "data_offsets"}` by tensor name.

    Raises BaseModelInvalidError.
    """
    try:
        with file.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > MAX_HEADER_BYTES:
                raise ValueError(f"its header has {size} bytes, more than {MAX_HEADER_BYTES}")
            entries = json.loads(stream.read(size))
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise ValueError("its header is not a JSON object of objects")
    except (OSError, ValueError, struct.error) as error:
        raise BaseModelInvalidError(f"{file.name} of the base model is not a safetensors file: {error}") from error
    entries.pop("__metadata__", None)
    return entries


def weight_modules(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the last part of each module's name and its weight's number of dimensions; reads only the header."""
    for key, entry in safetensors_header(file).items():
        parts = key.split(".")
        if len(parts) > 1 and parts[-1] == "weight":
            yield parts[-2], len(entry.get("shape", ()))


def check_space(needed: int, volume: Path, field: str, content: str = "the base model") -> None:
    """Raise WorkspaceFullError naming `field` when `content` of `needed` bytes does not fit into `volume`."""
    free = shutil.disk_usage(volume).free
    if needed > free:
        raise WorkspaceFullError(f"{field}: {content} has {needed >> 20} MiB, but only {free >> 20} MiB are free")
