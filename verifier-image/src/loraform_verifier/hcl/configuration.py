"""A program's files, read: its root module and the local modules that it brings along.

Terraform reads a folder as one module, whatever its files are called; so do we.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from loraform_api.verification import Diagnostic, Program
from loraform_verifier.hcl.parse import Block, Document, parse

MAIN_FILE = "main.tf"
OVERRIDE = re.compile(r"(?:^|[/_])override\.tf$")
"""Names of files that Terraform merges into the others."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Documents by their path in the program, for example `main.tf` or `modules/network/main.tf`."""

    documents: dict[str, Document]

    @property
    def problems(self) -> list[Diagnostic]:
        """What keeps the files from being read."""
        return [found for name, document in self.documents.items() for found in placed(name, document.problems)]

    def module(self, folder: str = "") -> dict[str, Document]:
        """Return the documents of one folder; the root module's by default."""
        return {name: document for name, document in self.documents.items() if folder_of(name) == folder}

    def blocks(self, folder: str = "") -> Iterator[Block]:
        """Yield the blocks of one folder's module."""
        for document in self.module(folder).values():
            yield from document.blocks

    @property
    def folders(self) -> list[str]:
        """The folders that hold files; the root module's is the empty string."""
        return sorted({folder_of(name) for name in self.documents})


def read(program: Program) -> Configuration:
    """Read a program's files; `main.tf` is left out when it is empty and others stand for it."""
    texts = {MAIN_FILE: program.text} if program.text or not program.files else {}
    return Configuration({name: parse(text) for name, text in sorted((texts | program.files).items())})


def single(text: str) -> Configuration:
    """Return the configuration of one text."""
    return Configuration({MAIN_FILE: parse(text)})


def placed(file: str, found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return findings with the file they were made in."""
    return [diagnostic.model_copy(update={"file": file}) for diagnostic in found]


def folder_of(name: str) -> str:
    """Return the folder of a file's path, empty for the root module."""
    return name.rpartition("/")[0]


def resolved(folder: str, source: str) -> str | None:
    """Return the folder that a local module source means, seen from `folder`; None when it lies outside."""
    parts: list[str] = [part for part in folder.split("/") if part]
    for part in PurePosixPath(source).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
