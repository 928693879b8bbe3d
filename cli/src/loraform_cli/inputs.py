"""Knows how to read what `loraform verify` is given: programs and house policies."""

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
    """What was given cannot be checked; the text names it and says what to change."""


def read_text(path: Path, option: str = "") -> str:
    """Read a file, or standard input (`-`). Raises InputError, which names `option` before the path."""
    try:
        if str(path) != "-":
            return path.read_text(encoding="utf-8")
        if sys.stdin is None:
            raise InputError(f"{option}-: standard input is closed")
        return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option}{path}: {getattr(error, 'strerror', None) or error}") from error


def read_program(path: str) -> Program:
    """Read a file, a folder (its .tf files and the local modules that they call) or standard input (`-`)."""
    place = Path(path)
    files = _folder(place) if place.is_dir() else {MAIN_FILE: read_text(place)}
    try:
        return Program(id=path[-ID_LENGTH:], text=files.pop(MAIN_FILE, ""), files=files)
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error


def _folder(folder: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    reached = [""]
    for inside in reached:  # which grows on the way
        if json := sorted((folder / inside).glob("[!.]*.tf.json")):
            raise InputError(f"{json[0]}: JSON is not read; write it as a .tf file")
        for file in sorted((folder / inside).glob("[!.]*.tf")):
            name = file.relative_to(folder).as_posix()
            files[name] = read_text(file)
            reached += [called for called in _called(inside, files[name]) if called not in reached]
        if not files:
            raise InputError(f"{folder}: the folder holds no .tf file")
    unread = {file.parent for file in folder.rglob("*.tf") if not _hidden(file.relative_to(folder))}
    unread -= {folder / inside for inside in reached}
    if unread:
        print(f"{folder}: folders not read, as no module block leads there: {len(unread)}", file=sys.stderr)
    return files


def _called(folder: str, text: str) -> Iterator[str]:
    """Yield the folders of the local modules that a file in `folder` calls."""
    calls = (block for block in parse(text).blocks if block.type == "module")
    return (inside for block in calls if (inside := local_folder(folder, block)) is not None)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_policy(path: Path) -> HousePolicy:
    """Read a house policy: the bare `{comment, tags, …}`, or an object that has one in `spec.policy`."""
    try:
        content: Any = yaml.safe_load(read_text(path, "--policy "))
        if isinstance(content, dict) and "spec" in content:
            content = content["spec"].get("policy") if isinstance(content["spec"], dict) else None
        if not isinstance(content, dict):
            raise InputError(f"--policy {path}: it holds no house policy: neither keys of one nor `spec.policy`")
        # Lenient in a custom resource; here an unknown key is a rule that nobody would ask.
        return HousePolicy.model_validate(content, extra="forbid")
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"--policy {path}: {error}") from error
    except ValidationError as error:
        raise InputError(f"--policy {path}: {first_mistake(error)}") from error


def first_mistake(error: ValidationError) -> str:
    """Return where the first mistake is and what is wrong, without the value, which may be a whole program."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
