"""The rule that makes a prompt's instruction and input of a conversation. Pure.

The rows of data sets and suites pass through it as requests do. So a row is asked as it was trained and measured, be
its input in a field of its own or in a fence of the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loraform_engine.fences import Fence, split_fences
from loraform_engine.program import MOST_NESTED, has_block, joined, program_in


class Role(StrEnum):
    """Who speaks in a conversation."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    """OpenAI's newer word for `system`."""
    USER = "user"
    ASSISTANT = "assistant"


class InputFrom(StrEnum):
    """What a prompt's input was taken from."""

    FIELD = "Field"
    """A field of its own; the conversation was not looked at."""
    FENCE = "Fence"
    """The fences of the last user message."""
    CONVERSATION = "Conversation"
    """The program in the last assistant message."""
    NONE = "None"
    """The prompt has no input."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """Instruction and input of a prompt, with `\\n` as line ending and without white space around them."""

    instruction: str
    input: str
    input_from: InputFrom


def question_of(turns: Sequence[Turn], field: str | None = None) -> Question:
    """Return the question that a conversation asks.

    - The last message of a user is the instruction. System texts stand before it, each followed by a blank line. What
      users said earlier is not in the prompt: the model was trained on single instructions.
    - `field`, the explicit input, wins, also if it is empty. If it is nothing but fences, their contents are the input.
    - Else the fences of that message are the input, and the rest of it is the instruction. The contents of several are
      joined by blank lines, because the files of a Terraform module may as well stand in one. Where nothing would be
      left for the instruction, the message stays whole.
    - Else the program in the last assistant message, if it has one, is the input.

    Raises ValueError, without quoting a text, if a user's last message is missing, empty or answered.
    """
    spoken = [turn for turn in turns if turn.role in (Role.USER, Role.ASSISTANT)]
    if not spoken or spoken[-1].role is not Role.USER:
        raise ValueError("the last message must be of role 'user': it is the instruction")
    message = _with_newlines(spoken[-1].text)
    if not message.strip():
        raise ValueError("the last message must not be empty: it is the instruction")
    system = [_with_newlines(turn.text) for turn in turns if turn.role in (Role.SYSTEM, Role.DEVELOPER)]
    whole = _joined([*system, message])
    if field is not None:
        return Question(whole, _plain(_with_newlines(field)), InputFrom.FIELD)
    fenced = split_fences(message)
    instruction = _joined([*system, fenced.outside])
    if fenced.blocks and instruction:
        return Question(instruction, _plain(_files(fenced.blocks)), InputFrom.FENCE)
    answers = [turn.text for turn in spoken if turn.role is Role.ASSISTANT]
    program = _program_of(_with_newlines(answers[-1])) if answers else ""
    return Question(whole, program, InputFrom.CONVERSATION if program else InputFrom.NONE)


def row_question(instruction: str, input_text: str = "", system: Sequence[str] = ()) -> Question:
    """Return the question of a row: a single user message, with the explicit input if there is one."""
    turns = [*(Turn(Role.SYSTEM, text) for text in system), Turn(Role.USER, instruction)]
    return question_of(turns, input_text if input_text.strip() else None)


def _program_of(answer: str) -> str:
    """Return the program in an assistant's message; empty if it has none."""
    program = program_in(answer)
    return program.text.strip() if has_block(program.text) and not program.truncated else ""


def _plain(text: str) -> str:
    """Return an input without fences around the whole of it."""
    for _ in range(MOST_NESTED):
        fenced = split_fences(text)
        if not fenced.blocks or fenced.outside.strip():
            break
        text = _files(fenced.blocks)
    return text.strip()


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(text.strip() for text in texts if text.strip())


def _files(blocks: Iterable[Fence]) -> str:
    return joined(block.text for block in blocks)
