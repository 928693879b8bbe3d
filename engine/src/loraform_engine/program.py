"""The program in a model's text: one rule for fences and thoughts, in rows, evaluation and serving. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from loraform_engine.fences import Fence, heredoc_lines, split_fences

THOUGHT, THOUGHT_END = "<think>", "</think>"
TERRAFORM = frozenset(("hcl", "terraform", "tf", "opentofu", "tofu"))
"""Languages of fences that hold Terraform."""
MOST_NESTED = 4
"""Fences around fences that are opened: each is one more scan of the text."""
_BLOCK = re.compile(
    r"^[ \t]*(?:check|data|ephemeral|import|locals|module|moved|output|provider|removed|resource|terraform|variable)"
    r"(?:[ \t]+[\w.-]+|[ \t]+\"[^\"\n]*\"){0,2}[ \t]*\{",
    re.MULTILINE,
)
"""First line of a Terraform block. A text is not parsed, because a program with errors is one too."""


@dataclass(frozen=True, slots=True)
class ProgramInText:
    """The program in a model's text."""

    text: str
    truncated: bool = False
    """True if the model did not reach the end of its program; `text` is then all that it wrote."""


def program_in(text: str, *, truncated: bool = False) -> ProgramInText:
    """Return the program in a model's text; `truncated` is whether the text ended at a limit.

    Without fences, or with a block outside them, it is the text, without thoughts. Else it is the files in the fences,
    joined in order: those marked as Terraform, else those without a mark, else all; among them those with a block, if
    one has any. So commands, trees of folders and values of variables beside a program are not part of it. An unclosed
    thought holds no answer.
    """
    answer = _without_thoughts(text)
    if truncated or answer is None:
        return ProgramInText(text, truncated=True)
    return ProgramInText(_unfenced(answer))


def has_block(text: str) -> bool:
    """Return whether a text has the first line of a Terraform block."""
    return _BLOCK.search(text) is not None


def module_files(fences: Iterable[Fence]) -> list[Fence]:
    """Return the fences that are files of one module, in order."""
    written = [fence for fence in fences if fence.text.strip()]
    marks: tuple[Callable[[Fence], bool], ...] = (
        lambda fence: fence.language in TERRAFORM or fence.language.endswith(".tf"),
        lambda fence: not fence.language,
        lambda fence: True,
    )
    files = next((chosen for mark in marks if (chosen := list(filter(mark, written)))), [])
    return [file for file in files if has_block(file.text)] or files


def joined(files: Iterable[str]) -> str:
    """Return the texts of files as one; their order means nothing to Terraform."""
    return "\n".join(file.strip("\n") + "\n" for file in files)


def _unfenced(text: str) -> str:
    for _ in range(MOST_NESTED):  # a fence may stand around fences
        fenced = split_fences(text)
        if fenced.unclosed is None and has_block(fenced.outside):
            return text
        files = module_files((*fenced.blocks, *([] if fenced.unclosed is None else [_ended(fenced.unclosed)])))
        if not files:
            return text
        text = joined(file.text for file in files)
    return text


def _ended(fence: Fence) -> Fence:
    """Return a fence that is not closed without the mark that may stand behind its last line."""
    return Fence(fence.language, fence.text.rstrip().removesuffix("```"))


def _without_thoughts(text: str) -> str | None:
    """Return a text without its thoughts; None if one is not closed."""
    kept: list[str] = []
    thinking = False
    for whole, in_heredoc in heredoc_lines(text):
        line = whole
        if not thinking and not in_heredoc and _ends_thought(line):
            kept, line = [], line.rpartition(THOUGHT_END)[2]  # the prompt opened the thought
        while thinking or (not in_heredoc and line.lstrip().startswith(THOUGHT)):
            _, end, line = line.partition(THOUGHT_END)
            thinking = not end
            if thinking:
                break
        if not thinking and (line.strip() or line == whole):
            kept.append(line)
    return None if thinking else "\n".join(kept)


def _ends_thought(line: str) -> bool:
    """Return whether a line ends a thought that no line opens; inside a line the mark may be a program's text."""
    text = line.strip()
    return not text.startswith(THOUGHT) and (text.startswith(THOUGHT_END) or text.endswith(THOUGHT_END))
