"""The parsed files of a program: its root module and its local modules.

As in Terraform, all files of a folder are one module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from loraform_api.verification import EMPTY, Diagnostic, Program
from loraform_verifier.hcl.parse import Document, HclBlock, parse
from loraform_verifier.hcl.tree import body_items

MAIN_FILE = "main.tf"
OVERRIDE = re.compile(r"(?:^|[/_])override\.tf$")
"""Names of override files, which Terraform merges into the other files."""


_NOTHING = Diagnostic(
    code=EMPTY,
    message="The program holds no block: there is nothing to verify.",
    hint="Write Terraform, not only comments.",
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Parsed files by path in the program, for example `main.tf` or `modules/network/main.tf`."""

    documents: dict[str, Document]

    @property
    def problems(self) -> list[Diagnostic]:
        """The problems of all files, each with its file, or that the root module is empty."""
        problems = [p for name, document in self.documents.items() for p in with_file(name, document.problems)]
        return problems or ([_NOTHING] if self.is_empty else [])

    @property
    def is_empty(self) -> bool:
        """Return whether the root module holds nothing but comments and white space, so that nothing can be verified.

        Any block counts: a program of variables, outputs or settings alone may be what was asked for.
        """
        return not any(body_items(document.root) for document in self.module().values())

    def module(self, folder: str = "") -> dict[str, Document]:
        """Return the files of one folder, by default of the root module."""
        return {name: document for name, document in self.documents.items() if folder_of(name) == folder}

    def blocks(self, folder: str = "") -> Iterator[HclBlock]:
        """Yield the blocks of the module in a folder."""
        for document in self.module(folder).values():
            yield from document.blocks

    @property
    def folders(self) -> list[str]:
        """The folders that hold files; the root module is the empty string."""
        return sorted({folder_of(name) for name in self.documents})


def files_of(program: Program) -> dict[str, str]:
    """Return the texts of a program by path, sorted. An empty `main.tf` is left out if there are other files."""
    texts = {MAIN_FILE: program.text} if program.text or not program.files else {}
    return dict(sorted((texts | program.files).items()))


def read_program(program: Program) -> Configuration:
    """Parse the files of a program."""
    return Configuration({name: parse(text) for name, text in files_of(program).items()})


def single_file(text: str) -> Configuration:
    """Return the configuration of a program that is one file."""
    return Configuration({MAIN_FILE: parse(text)})


def with_file(file: str, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return copies of diagnostics with `file` set."""
    return [diagnostic.model_copy(update={"file": file}) for diagnostic in diagnostics]


def folder_of(name: str) -> str:
    """Return the folder of a path; empty for the root module."""
    return name.rpartition("/")[0]


def resolve_folder(folder: str, source: str) -> str | None:
    """Resolve a local module source against `folder`; None if it leaves the program."""
    parts: list[str] = [part for part in folder.split("/") if part]
    for part in PurePosixPath(source).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
