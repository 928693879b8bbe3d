"""Resolution of `module` blocks: to the program's own files or to the module mirror. Nothing is downloaded.

A mirror holds unpacked modules in folders `HOST/NAMESPACE/NAME/PROVIDER/VERSION`. Modules that are not in it do not
exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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
MAX_DEPTH = 6
_REGISTRY_SOURCE = re.compile(r"^(?:([a-z0-9.-]+\.[a-z]+)/)?([\w-]+)/([\w-]+)/([a-z0-9]+)(?://([\w./-]+))?$")


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """A resolved `module` block: an entry of terraform's module manifest."""

    key: str
    """The names of the calls from the root module to this one, joined by dots."""
    source: str
    """As in the manifest: a registry address includes its host."""
    folder: str
    """Folder of the module, relative to the program's root."""
    block: HclBlock
    file: str
    """File of the block; for a block of a mirrored module, the file name only."""
    version: str | None = None


@dataclass(slots=True)
class Modules:
    """The resolved and refused `module` blocks of a program."""

    calls: list[ModuleCall] = field(default_factory=list)
    links: dict[str, Path] = field(default_factory=dict)
    """Links to create: path in the program to folder in the mirror."""
    refused: list[Diagnostic] = field(default_factory=list)
    _mirrored_documents: dict[str, dict[str, Document]] = field(default_factory=dict)
    """Cache of parsed mirror modules by folder."""

    def mirror_folder(self, folder: str) -> Path | None:
        """Return the mirror folder that a folder of the program is linked to; None if it is not linked."""
        for link, target in self.links.items():
            if folder == link or folder.startswith(f"{link}/"):
                return target / folder[len(link) :].lstrip("/")
        return None

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

    def exists(self, folder: str) -> bool:
        return any(self.configuration.module(folder)) or self.modules.mirror_folder(folder) is not None


def _follow(walk: _Walk, folder: str, prefix: str, depth: int) -> None:
    for file, block in walk.calls_in(folder):
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
        if inside is None or not walk.exists(inside):
            return _refusal(block, f"Module source {source[:100]!r} is not among the program's files.")
        return ModuleCall(key, source, inside, block, file)
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
    module_folder = walk.mirror / (host or walk.registry) / namespace / name / provider
    argument = block.attribute("version")
    constraint = literal(argument.value) if argument else ""
    versions = (
        sorted((p.name for p in module_folder.iterdir() if p.is_dir()), key=order) if module_folder.is_dir() else []
    )
    matching = [v for v in versions if isinstance(constraint, str) and satisfies(v, constraint)]
    if not matching:
        available = f"it has {', '.join(versions)}" if versions else "it has none"
        return _refusal(block, f"The module mirror has no matching version of {source[:100]!r}; {available}.")
    link = f"{MIRRORED}/{namespace}-{name}-{provider}-{matching[-1]}"
    walk.modules.links[link] = module_folder / matching[-1]
    address = f"{host or walk.registry}/{namespace}/{name}/{provider}"
    return ModuleCall(
        key,
        address + (f"//{inside}" if inside else ""),
        f"{link}/{inside}".rstrip("/") if inside else link,
        block,
        file,
        matching[-1],
    )


def _refusal(block: HclBlock, message: str) -> Diagnostic:
    return Diagnostic(code="BlockedByPolicy", message=f"module.{block.labels[0]}: {message}", line=block.line)
