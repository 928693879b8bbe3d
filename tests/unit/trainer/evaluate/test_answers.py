"""The journal of generated answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loraform_trainer.evaluate.answers import AnswerJournal, EngineIdentity, GeneratedAnswer, answer_key

ENGINE = EngineIdentity("0.32.0", 512)
BODY = {"model": "base", "prompt": [5, 6], "max_tokens": 7, "temperature": 0.0, "seed": 1}
ANSWER = GeneratedAnswer("resource {}\n", truncated=False, tokens=9)


def test_answers_survive_the_process(tmp_path: Path) -> None:
    journal = AnswerJournal(tmp_path / "evaluation" / "answers.jsonl")
    assert journal.get("a") is None
    journal.add("a", ANSWER)
    journal.add("b", GeneratedAnswer("", truncated=True))
    assert journal.get("a") == ANSWER
    again = AnswerJournal(tmp_path / "evaluation" / "answers.jsonl")
    assert (again.get("a"), again.get("b")) == (ANSWER, GeneratedAnswer("", truncated=True))


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_line_that_was_cut_off_is_dropped_and_the_next_is_whole(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "answers.jsonl"
    AnswerJournal(path).add("a", ANSWER)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    AnswerJournal(path).add("b", ANSWER)
    assert path.read_bytes() == whole + whole.replace(b'"a"', b'"b"')


@pytest.mark.parametrize("line", [b"\x00\x00", b"[]", b'{"key": "x"}', b'{"text": "x"}', b"\xff"])
def test_an_unreadable_line_costs_its_answer_only(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "answers.jsonl"
    AnswerJournal(path).add("a", ANSWER)
    path.write_bytes(line + b"\n" + path.read_bytes())
    assert AnswerJournal(path).get("a") == ANSWER


@pytest.mark.parametrize(
    ("engine", "digest", "body"),
    [
        (EngineIdentity("0.33.0", 512), None, BODY),
        (EngineIdentity("0.32.0", 1024), None, BODY),
        (ENGINE, "0" * 64, BODY),
        *((ENGINE, None, BODY | {name: value}) for name, value in (
            ("model", "adapter-1"), ("prompt", [5]), ("max_tokens", 8), ("temperature", 0.7), ("seed", 2),
        )),
    ],
)  # fmt: skip
def test_whatever_decides_an_answer_is_in_its_key(engine: EngineIdentity, digest: str, body: dict[str, Any]) -> None:
    assert answer_key(engine, digest, body) != answer_key(ENGINE, None, BODY)
    assert answer_key(ENGINE, None, dict(reversed(BODY.items()))) == answer_key(ENGINE, None, BODY)
