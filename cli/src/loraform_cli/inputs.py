"""Reads the inputs of commands: programs and house policies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from loraform_api.verification import HousePolicy, Program
from loraform_verifier.hcl.configuration import MAIN_FILE
from loraform_verifier.hcl.modules import local_folder
from loraform_verifier.hcl.parse import parse

ID_LENGTH = 200


class InputError(Exception):
    """An input cannot be used; the message names it and says what to change."""


def read_text(path: Path, option: str = "") -> str:
    """Return the text of a file or of standard input (`-`); raises InputError that names `option` and path."""
    try:
        if str(path) != "-":
            return path.read_text(encoding="utf-8")
        if sys.stdin is None:
            raise InputError(f"{option}-: standard input is closed")
        return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option}{path}: {getattr(error, 'strerror', None) or error}") from error


def read_program(path: str) -> Program:
    """Return the program in a file, a folder (with the local modules that it calls) or standard input (`-`)."""
    location = Path(path)
    files = _folder(location) if location.is_dir() else {MAIN_FILE: read_text(location)}
    try:
        return Program(id=path[-ID_LENGTH:], text=files.pop(MAIN_FILE, ""), files=files)
    except ValidationError as error:
        raise InputError(f"{path}: {first_error(error)}") from error


def _folder(folder: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    reached = [""]
    for inside in reached:  # grows in the loop
        if json := sorted((folder / inside).glob("[!.]*.tf.json")):
            raise InputError(f"{json[0]}: JSON configuration is not supported; write it as a .tf file")
        for file in sorted((folder / inside).glob("[!.]*.tf")):
            name = file.relative_to(folder).as_posix()
            files[name] = read_text(file)
            reached += [called for called in _called(inside, files[name]) if called not in reached]
        if not files:
            raise InputError(f"{folder}: the folder has no .tf file")
    unread = {file.parent for file in folder.rglob("*.tf") if not _hidden(file.relative_to(folder))}
    unread -= {folder / inside for inside in reached}
    if unread:
        print(f"{folder}: folders skipped, because no module block refers to them: {len(unread)}", file=sys.stderr)
    return files


def _called(folder: str, text: str) -> Iterator[str]:
    """Yield the folders of the local modules that a file in `folder` calls."""
    calls = (block for block in parse(text).blocks if block.type == "module")
    return (inside for block in calls if (inside := local_folder(folder, block)) is not None)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_policy(path: Path) -> HousePolicy:
    """Return a house policy from a file: the policy itself, or an object with `spec.policy`; raises InputError."""
    try:
        content: Any = yaml.safe_load(read_text(path, "--policy "))
        if isinstance(content, dict) and "spec" in content:
            content = content["spec"].get("policy") if isinstance(content["spec"], dict) else None
        if not isinstance(content, dict):
            raise InputError(f"--policy {path}: the file has no house policy: neither its keys nor `spec.policy`")
        # Unlike in a custom resource, an unknown key is refused: it would be a rule that nothing checks.
        return HousePolicy.model_validate(content, extra="forbid")
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"--policy {path}: {error}") from error
    except ValidationError as error:
        raise InputError(f"--policy {path}: {first_error(error)}") from error


def first_error(error: ValidationError) -> str:
    """Return location and message of the first error, without the value, which may be a large program."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
