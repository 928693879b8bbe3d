"""Which modules a program may call: those in its own files, and those of the module mirror. Nothing is downloaded.

A mirror is a folder `HOST/NAMESPACE/NAME/PROVIDER/VERSION` of unpacked modules that the operator of the verifier has
chosen; as with providers, what does not lie there does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.configuration import Configuration, placed, resolved
from loraform_verifier.hcl.literals import literal
from loraform_verifier.hcl.parse import Block, Document, parse
from loraform_verifier.hcl.versions import order, satisfies

MIRRORED = ".mirrored"
"""Folder in a program's own where mirrored modules are linked; no file of a program can begin with a dot."""
LOCAL = ("./", "../")
MAX_CALLS = 100
MAX_DEPTH = 6
_REGISTRY_SOURCE = re.compile(r"^(?:([a-z0-9.-]+\.[a-z]+)/)?([\w-]+)/([\w-]+)/([a-z0-9]+)(?://([\w./-]+))?$")


@dataclass(frozen=True, slots=True)
class Call:
    """A `module` block that can be followed: an entry of terraform's module manifest."""

    key: str
    """The names of the calls that lead here, joined by dots."""
    source: str
    """As the manifest wants it: a registry address is written with its host."""
    folder: str
    """Where the module lies, seen from the program's root."""
    block: Block
    file: str
    """Where the block stands; of a mirrored module, the name alone."""
    version: str | None = None


@dataclass(slots=True)
class Modules:
    """What a program's `module` blocks mean here."""

    calls: list[Call] = field(default_factory=list)
    links: dict[str, Path] = field(default_factory=dict)
    """Folders to link: path in the program to folder of the mirror."""
    refused: list[Diagnostic] = field(default_factory=list)
    _read: dict[str, dict[str, Document]] = field(default_factory=dict)
    """What was read of the mirror, by folder."""

    def linked(self, folder: str) -> Path | None:
        """Return where in the mirror a folder of the program lies; None when it is none of those linked."""
        for link, place in self.links.items():
            if folder == link or folder.startswith(f"{link}/"):
                return place / folder[len(link) :].lstrip("/")
        return None

    def documents(self, configuration: Configuration, folder: str) -> dict[str, Document]:
        """Return the files of the module in a folder, of the program's own or of the mirror."""
        place = self.linked(folder)
        if place is None:
            return configuration.module(folder)
        if folder not in self._read:
            files = sorted(place.glob("*.tf"))
            self._read[folder] = {file.name: parse(file.read_text(encoding="utf-8")) for file in files}
        return self._read[folder]

    def blocks(self, configuration: Configuration, folder: str) -> Iterator[Block]:
        """Yield the blocks of the module in a folder."""
        for document in self.documents(configuration, folder).values():
            yield from document.blocks


def modules_of(configuration: Configuration, registry: str, mirror: Path | None) -> Modules:
    """Follow all `module` blocks. `registry` is the host that an address without one means."""
    found = Modules()
    _follow(_Walk(configuration, registry, mirror, found), "", "", 0)
    return found


@dataclass(frozen=True, slots=True)
class _Walk:
    configuration: Configuration
    registry: str
    mirror: Path | None
    found: Modules

    def calls_in(self, folder: str) -> Iterator[tuple[str, Block]]:
        """Yield (file, block) of the `module` blocks in a folder of the program or of the mirror."""
        for file, document in self.found.documents(self.configuration, folder).items():
            yield from ((file, block) for block in document.blocks if block.type == "module" and block.labels)

    def exists(self, folder: str) -> bool:
        return any(self.configuration.module(folder)) or self.found.linked(folder) is not None


def _follow(walk: _Walk, folder: str, prefix: str, depth: int) -> None:
    for file, block in walk.calls_in(folder):
        if depth >= MAX_DEPTH or len(walk.found.calls) >= MAX_CALLS:
            limits = f"Modules may nest {MAX_DEPTH} deep, {MAX_CALLS} calls in all."
            walk.found.refused += placed(file, [_refusal(block, limits)])
            return
        call = _call(walk, folder, prefix, file, block)
        if call is None:
            continue
        if isinstance(call, Diagnostic):
            walk.found.refused += placed(file, [call])
            continue
        walk.found.calls.append(call)
        _follow(walk, call.folder, f"{call.key}.", depth + 1)


def _call(walk: _Walk, folder: str, prefix: str, file: str, block: Block) -> Call | Diagnostic | None:
    argument = block.attribute("source")
    if argument is None:
        return None  # a mistake, and no matter of where modules come from
    source = literal(argument.value)
    key = prefix + block.labels[0]
    if not isinstance(source, str):
        return _refusal(block, "`source` must be a literal string.")
    if source.startswith(LOCAL):
        inside = local_folder(folder, block)
        if inside is None or not walk.exists(inside):
            return _refusal(block, f"Module source {source[:100]!r} is not among the program's files.")
        return Call(key, source, inside, block, file)
    return _mirrored(walk, key, source, file, block)


def local_folder(folder: str, block: Block) -> str | None:
    """Return the folder of the local module that a block in `folder` calls; None for others, and beyond the root."""
    argument = block.attribute("source")
    source = literal(argument.value) if argument else None
    return resolved(folder, source) if isinstance(source, str) and source.startswith(LOCAL) else None


def _mirrored(walk: _Walk, key: str, source: str, file: str, block: Block) -> Call | Diagnostic:
    match = _REGISTRY_SOURCE.match(source)
    if match is None or walk.mirror is None:
        return _refusal(
            block,
            f"Module source {source[:100]!r} is not allowed: modules come from the program's own files{_or(walk)}.",
        )
    host, namespace, name, provider, inside = match.groups()
    place = walk.mirror / (host or walk.registry) / namespace / name / provider
    wanted = block.attribute("version")
    constraint = literal(wanted.value) if wanted else ""
    versions = sorted((p.name for p in place.iterdir() if p.is_dir()), key=order) if place.is_dir() else []
    fitting = [v for v in versions if isinstance(constraint, str) and satisfies(v, constraint)]
    if not fitting:
        there = f"it has {', '.join(versions)}" if versions else "it has none"
        return _refusal(block, f"Module {source[:100]!r} is not in the mirror in a version that fits; {there}.")
    link = f"{MIRRORED}/{namespace}-{name}-{provider}-{fitting[-1]}"
    walk.found.links[link] = place / fitting[-1]
    address = f"{host or walk.registry}/{namespace}/{name}/{provider}"
    return Call(
        key,
        address + (f"//{inside}" if inside else ""),
        f"{link}/{inside}".rstrip("/") if inside else link,
        block,
        file,
        fitting[-1],
    )


def _or(walk: _Walk) -> str:
    return "" if walk.mirror is None else " or the module mirror"


def _refusal(block: Block, message: str) -> Diagnostic:
    return Diagnostic(code="BlockedByPolicy", message=f"module.{block.labels[0]}: {message}", line=block.line)
