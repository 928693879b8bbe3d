"""Resolution of `module` blocks: to the program's own files or to the module mirror. Nothing is downloaded.

A mirror holds unpacked modules in folders `HOST/NAMESPACE/NAME/PROVIDER/VERSION`. Modules that are not in it do not
exist, and nothing outside it is read: no source and no link in the mirror leads out of a module's own folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from loraform_api.verification import Diagnostic
from loraform_verifier.hcl.configuration import Configuration, resolve_folder, with_file
from loraform_verifier.hcl.literals import literal
from loraform_verifier.hcl.parse import Document, HclBlock, parse
from loraform_verifier.hcl.versions import order, satisfies

MIRRORED = ".mirrored"
"""Folder of a program in which mirrored modules are linked; no file of a program can begin with a dot."""
LOCAL = ("./", "../")
MAX_CALLS = 100
MAX_REFUSED = 10
"""Refused calls after which no further ones are followed."""
MAX_DEPTH = 6
_REGISTRY_SOURCE = re.compile(r"^(?:([a-z0-9.-]+\.[a-z]+)/)?([\w-]+)/([\w-]+)/([a-z0-9]+)(?://([\w./-]+))?$")


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A module call in terraform's module manifest."""

    key: str
    """The names of the calls from the root module to this one, joined by dots."""
    source: str
    """As in the manifest: a registry address includes its host."""
    folder: str
    """Folder of the module, relative to the program's root."""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """A resolved `module` block."""

    entry: ManifestEntry
    block: HclBlock
    file: str
    """File of the block; for a block of a mirrored module, the file name only."""

    @property
    def key(self) -> str:
        """The names of the calls from the root module to this one, joined by dots."""
        return self.entry.key

    @property
    def folder(self) -> str:
        """Folder of the module, relative to the program's root."""
        return self.entry.folder


@dataclass(slots=True)
class Modules:
    """The resolved and refused `module` blocks of a program."""

    calls: list[ModuleCall] = field(default_factory=list)
    links: dict[str, Path] = field(default_factory=dict)
    """Links to create: path in the program to folder in the mirror."""
    refused: list[Diagnostic] = field(default_factory=list)
    _mirrored_documents: dict[str, dict[str, Document]] = field(default_factory=dict)
    """Cache of parsed mirror modules by folder."""

    @property
    def mirrored_bytes(self) -> int:
        """Bytes of the files of mirrored modules that have been parsed."""
        return sum(len(d.source) for documents in self._mirrored_documents.values() for d in documents.values())

    def mirror_folder(self, folder: str) -> Path | None:
        """Return the mirror folder that a folder of the program is linked to; None if it is not linked."""
        link = self.link_of(folder)
        return None if link is None else self.links[link] / folder[len(link) :].lstrip("/")

    def link_of(self, folder: str) -> str | None:
        """Return the link that a folder of the program lies below; None for the program's own folders."""
        return next((link for link in self.links if folder == link or folder.startswith(f"{link}/")), None)

    def documents(self, configuration: Configuration, folder: str) -> dict[str, Document]:
        """Return the parsed files of the module in a folder, from the program or from the mirror."""
        mirrored = self.mirror_folder(folder)
        if mirrored is None:
            return configuration.module(folder)
        if folder not in self._mirrored_documents:
            files = sorted(mirrored.glob("*.tf"))
            self._mirrored_documents[folder] = {file.name: parse(file.read_text(encoding="utf-8")) for file in files}
        return self._mirrored_documents[folder]

    def blocks(self, configuration: Configuration, folder: str) -> Iterator[HclBlock]:
        """Yield the blocks of the module in a folder."""
        for document in self.documents(configuration, folder).values():
            yield from document.blocks


def modules_of(configuration: Configuration, registry: str, mirror: Path | None) -> Modules:
    """Resolve all `module` blocks. `registry` is the default host of registry addresses."""
    modules = Modules()
    _follow(_Walk(configuration, registry, mirror, modules), "", "", 0)
    return modules


@dataclass(frozen=True, slots=True)
class _Walk:
    configuration: Configuration
    registry: str
    mirror: Path | None
    modules: Modules

    def calls_in(self, folder: str) -> Iterator[tuple[str, HclBlock]]:
        """Yield (file, block) for each `module` block in a folder of the program or the mirror."""
        for file, document in self.modules.documents(self.configuration, folder).items():
            yield from ((file, block) for block in document.blocks if block.type == "module" and block.labels)

    def exists(self, caller: str, folder: str) -> bool:
        """Return whether a local module is there: among the program's files, or in the caller's mirrored module."""
        link = self.modules.link_of(caller)
        if link is None:
            return any(self.configuration.module(folder))
        mirrored = self.modules.mirror_folder(folder)
        return self.modules.link_of(folder) == link and mirrored is not None and mirrored.is_dir()


def _follow(walk: _Walk, folder: str, prefix: str, depth: int) -> None:
    for file, block in walk.calls_in(folder):
        if len(walk.modules.refused) >= MAX_REFUSED:
            return
        if depth >= MAX_DEPTH or len(walk.modules.calls) >= MAX_CALLS:
            limits = f"Modules may nest {MAX_DEPTH} deep, {MAX_CALLS} calls in all."
            walk.modules.refused += with_file(file, [_refusal(block, limits)])
            return
        call = _call(walk, folder, prefix, file, block)
        if call is None:
            continue
        if isinstance(call, Diagnostic):
            walk.modules.refused += with_file(file, [call])
            continue
        walk.modules.calls.append(call)
        _follow(walk, call.folder, f"{call.key}.", depth + 1)


def _call(walk: _Walk, folder: str, prefix: str, file: str, block: HclBlock) -> ModuleCall | Diagnostic | None:
    argument = block.attribute("source")
    if argument is None:
        return None  # the Schema and Validate stages report the missing argument
    source = literal(argument.value)
    key = prefix + block.labels[0]
    if not isinstance(source, str):
        return _refusal(block, "`source` must be a literal string.")
    if source.startswith(LOCAL):
        inside = local_folder(folder, block)
        if inside is None or not walk.exists(folder, inside):
            return _refusal(block, f"Module source {source[:100]!r} is not among the files of its own module.")
        return ModuleCall(ManifestEntry(key, source, inside), block, file)
    return _mirrored(walk, key, source, file, block)


def local_folder(folder: str, block: HclBlock) -> str | None:
    """Return the folder of the local module that a block in `folder` calls; None for any other source."""
    argument = block.attribute("source")
    source = literal(argument.value) if argument else None
    return resolve_folder(folder, source) if isinstance(source, str) and source.startswith(LOCAL) else None


def _mirrored(walk: _Walk, key: str, source: str, file: str, block: HclBlock) -> ModuleCall | Diagnostic:
    match = _REGISTRY_SOURCE.match(source)
    if match is None or walk.mirror is None:
        origins = "the program's own files" + ("" if walk.mirror is None else " or the module mirror")
        return _refusal(block, f"Module source {source[:100]!r} is not allowed: modules come from {origins}.")
    host, namespace, name, provider, inside = match.groups()
    if inside and not all(part.strip(".") for part in inside.split("/")):
        return _refusal(
            block, f"Module source {source[:100]!r} is not allowed: the folder after `//` must lie inside the module."
        )
    module_folder = walk.mirror / (host or walk.registry) / namespace / name / provider
    argument = block.attribute("version")
    constraint = literal(argument.value) if argument else ""
    versions = (
        sorted((p.name for p in module_folder.iterdir() if p.is_dir()), key=order)
        if module_folder.is_dir() and _lies_in(walk.mirror, module_folder)
        else []
    )
    matching = [v for v in versions if isinstance(constraint, str) and satisfies(v, constraint)]
    if not matching:
        available = f"it has {', '.join(versions)}" if versions else "it has none"
        return _refusal(block, f"The module mirror has no matching version of {source[:100]!r}; {available}.")
    module = module_folder / matching[-1]
    if (outside := _leads_out(module, walk.mirror)) is not None:
        return _refusal(block, f"The module mirror's {outside} is a link that leads out of its module; replace it.")
    if inside and not (module / inside).is_dir():
        return _refusal(block, f"Module source {source[:100]!r} names no folder of the module.")
    address = f"{host or walk.registry}/{namespace}/{name}/{provider}"
    link = f"{MIRRORED}/{address}/{matching[-1]}"
    walk.modules.links[link] = module
    below = f"//{inside}" if inside else ""
    return ModuleCall(ManifestEntry(key, address + below, link + below[1:], matching[-1]), block, file)


@lru_cache(maxsize=1024)
def _leads_out(module: Path, mirror: Path) -> Path | None:
    """Return the first path of a mirrored module that is outside it, relative to the mirror; None if none is.

    Each module is walked once: a mirror does not change while it is used.
    """
    home = module.resolve()
    if not _lies_in(mirror, module):
        return module.relative_to(mirror)
    # `walk` lists no folder that is a link, so all that it meets lies inside, but for links.
    links = (Path(folder) / name for folder, folders, files in os.walk(home) for name in (*folders, *files))
    outside = (path for path in links if path.is_symlink() and not _lies_in(home, path))
    return next((module.relative_to(mirror) / path.relative_to(home) for path in outside), None)


def _lies_in(folder: Path, path: Path) -> bool:
    """Return whether a path lies in a folder when all links are followed."""
    return path.resolve().is_relative_to(folder.resolve())


def _refusal(block: HclBlock, message: str) -> Diagnostic:
    return Diagnostic(code="BlockedByPolicy", message=f"module.{block.labels[0]}: {message}", line=block.line)
