"""Verifies files and folders: a folder's `.tf` files are one program, as they are to Terraform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loraform_api.verification import HousePolicy, Program, ProgramVerdict, Stage, VerifyRequest, VerifyResponse
from loraform_verifier.verify import Verifier

MAX_TEXT = 200_000


class PathError(ValueError):
    """A path holds nothing that can be verified; the message says why."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One program, and where each of its files starts in the joined text."""

    path: Path
    text: str
    starts: tuple[tuple[int, str], ...]

    def place(self, line: int) -> tuple[str, int]:
        """Return the file and the line in it for a line of the joined text."""
        start, name = max(entry for entry in self.starts if entry[0] < line)
        return name, line - start


def verify_paths(
    verifier: Verifier,
    paths: Sequence[Path],
    *,
    stages: Sequence[Stage],
    policy: HousePolicy | None = None,
    rewrite: bool = False,
) -> VerifyResponse:
    """Verify each path as one program, whose id is the path; a folder's diagnostics begin with `file:line: `.

    Raises PathError for paths without Terraform files, RequestError and IsolationError as Verifier.verify does.
    """
    sources = [_read(path) for path in paths]
    programs = [Program(id=str(source.path), text=source.text) for source in sources]
    request = VerifyRequest(programs=programs, stages=list(stages), policy=policy, rewrite=rewrite)
    response = verifier.verify(request)
    verdicts = [
        # After a rewrite lines count in the rewritten text, which has no files.
        verdict if len(source.starts) == 1 or rewrite else _placed(verdict, source)
        for source, verdict in zip(sources, response.verdicts, strict=True)
    ]
    return response.model_copy(update={"verdicts": verdicts})


def _read(path: Path) -> _Source:
    files = sorted(path.glob("*.tf")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise PathError(f"{path}: no such file, and no folder with .tf files")
    if path.is_dir() and (other := [f for f in files if f.stem == "override" or f.stem.endswith("_override")]):
        raise PathError(f"{other[0]}: override files are not judged; merge it into the file it overrides")
    starts, text = [], ""
    for file in files:
        starts.append((text.count("\n"), file.name))
        try:
            text += file.read_text(encoding="utf-8").rstrip("\n") + "\n"
        except UnicodeDecodeError as error:
            raise PathError(f"{file}: not UTF-8 text") from error
    if len(text) > MAX_TEXT:
        raise PathError(f"{path}: {len(text)} characters; a program may have at most {MAX_TEXT}")
    return _Source(path, text, tuple(starts))


def _placed(verdict: ProgramVerdict, source: _Source) -> ProgramVerdict:
    stages = []
    for result in verdict.stages:
        diagnostics = []
        for found in result.diagnostics:
            if found.line is not None:
                name, line = source.place(found.line)
                found = found.model_copy(update={"line": line, "message": f"{name}:{line}: {found.message}"})  # noqa: PLW2901
            diagnostics.append(found)
        stages.append(result.model_copy(update={"diagnostics": diagnostics}))
    return verdict.model_copy(update={"stages": stages})
