"""Knows how to read what `loraform verify` is given: programs, house policies, Rego packs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from loraform_api.verification import HousePolicy, Program
from loraform_verifier.configuration import MAIN_FILE

ID_LENGTH = 200


class InputError(Exception):
    """What was given cannot be checked; the text names it and says what to change."""


def read_program(path: str) -> Program:
    """Read a file, a folder (its .tf files and those of the folders below it) or standard input (`-`)."""
    try:
        if path != "-" and Path(path).is_dir():
            files = _folder(Path(path))
            return Program(id=path[-ID_LENGTH:], text=files.pop(MAIN_FILE, ""), files=files)
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return Program(id=path[-ID_LENGTH:], text=text)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error


def _folder(folder: Path) -> dict[str, str]:
    files = [f for f in sorted(folder.rglob("*.tf")) if not any(p.startswith(".") for p in f.relative_to(folder).parts)]
    if not any(file.parent == folder for file in files):
        raise InputError(f"{folder}: the folder holds no .tf file")
    return {file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8") for file in files}


def read_policy(path: Path) -> HousePolicy:
    """Read a house policy: the bare `{comment, tags, …}`, or an object that has one in `spec.policy`."""
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "spec" in content:
            content = content["spec"].get("policy")
        return HousePolicy.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, AttributeError) as error:
        raise InputError(f"--policy {path}: no house policy can be read: {error}") from error


def read_pack(path: Path) -> str:
    """Read a Rego module."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--pack {path}: {getattr(error, 'strerror', None) or error}") from error


def first_mistake(error: ValidationError) -> str:
    """Return where the first mistake is and what is wrong, without the value, which may be a whole program."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
