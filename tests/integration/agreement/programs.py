"""The programs on which batches must agree with lone terraform: made from one seed, the same on every machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from loraform_api.verification import Program

from .edits import EDITS

BASES = Path(__file__).parent / "bases"
MAIN = "main.tf"
MISTAKES = Path(__file__).parent / "mistakes.txt"
MODULE = "m/main.tf"
SEED = 4
ROUNDS = 17
"""How often each base is edited."""
SETTINGS = """terraform {
  required_version = "~> 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.16"
    }
  }
}

provider "aws" {
  region = "eu-west-1"
  default_tags {
    tags = { by = "model" }
  }
}

"""
COMMENTS = """# Größe: 5 µ — a comment
// another
/* and
   a long one */
"""
HEREDOC = """locals {
  heredoc = <<-EOT
    resource "not" "one" {
      # nor a comment
    }
  EOT
}
"""
INPUT = """variable "given_later" {
  type = map(string)
}

locals {
  later = { for k, v in var.given_later : k => upper(v) }
}
"""


def bases() -> dict[str, dict[str, str]]:
    """Return the correct programs: files by path, by the program's name."""
    alone = {place.stem: {MAIN: place.read_text(encoding="utf-8")} for place in BASES.glob("*.tf")}
    folders = {
        folder.name: {str(f.relative_to(folder)): f.read_text(encoding="utf-8") for f in folder.rglob("*.tf")}
        for folder in BASES.iterdir()
        if folder.is_dir()
    }
    return dict(sorted((alone | folders).items()))


def mistakes() -> Iterator[tuple[str, str, str | None]]:
    """Yield what is wrong, an end of `main.tf` that has it, and a module where it needs one.

    A few are none, or only warnings: they look like mistakes and must not be taken for one.
    """
    for entry in re.split(r"(?m)^=== ", MISTAKES.read_text(encoding="utf-8"))[1:]:
        name, _, text = entry.partition("\n")
        ending, marked, module = text.partition(f"--- {MODULE}\n")
        yield name, ending, module if marked else None


def programs() -> list[Program]:
    """Return all programs; their ids say what was done to them."""
    random = Random(SEED)
    return [_program(name, files, random) for name, files in _made(random)]


def _made(random: Random) -> Iterator[tuple[str, dict[str, str]]]:
    correct = bases()
    names = list(correct)
    yield from correct.items()
    for name, ending, module in mistakes():
        base = random.choice(names)
        ended = correct[base] | {MAIN: f"{correct[base][MAIN]}\n{ending}"}
        if module is None:
            yield f"{base}: {name}", ended
        else:
            yield f"{base}, module: {name}", ended | {MODULE: module}
    for base, files in correct.items():
        for number, edit in enumerate(random.choices(EDITS, k=ROUNDS)):
            edited = random.choice([name for name, text in files.items() if '\nresource "' in f"\n{text}"])
            yield f"{base}: {edit.__name__} {number}", files | {edited: edit(files[edited], random)}


def _program(name: str, files: dict[str, str], random: Random) -> Program:
    """Dress a program as programs come: with settings of their own, comments, other line ends."""
    main, worn = files[MAIN], []
    for word, front in (("settings", SETTINGS), ("comments", COMMENTS), ("heredoc", HEREDOC), ("input", INPUT)):
        if random.random() < 0.12:
            main, worn = front + main, [*worn, word]
    if random.random() < 0.05:
        main, worn = main.replace("\n", "\r\n"), [*worn, "CRLF"]
    if random.random() < 0.03:
        main, worn = f"\ufeff{main}", [*worn, "BOM"]
    others = {path: text for path, text in files.items() if path != MAIN}
    return Program(id=f"{name} ({', '.join(worn)})" if worn else name, text=main, files=others)
