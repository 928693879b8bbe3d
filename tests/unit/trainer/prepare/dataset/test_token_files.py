"""Arrow files of token ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from loraform_trainer.prepare.dataset import token_files


def read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        return stream.read_all()


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    blocks = [
        token_files.record_batch(["a:1", "ü:2"], [[1, 2], []], [[3], [4, 5, 6]]),
        token_files.record_batch(["a:3"], [[7]], [[8]]),
    ]
    assert token_files.write(tmp_path / "data" / "train.arrow", blocks) == 3
    table = read(tmp_path / "data" / "train.arrow")
    assert table.schema == token_files.SCHEMA
    assert table.to_pylist() == [
        {"id": "a:1", "prompt_ids": [1, 2], "response_ids": [3]},
        {"id": "ü:2", "prompt_ids": [], "response_ids": [4, 5, 6]},
        {"id": "a:3", "prompt_ids": [7], "response_ids": [8]},
    ]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train.arrow"]


def test_no_rows_give_an_empty_file(tmp_path: Path) -> None:
    assert token_files.write(tmp_path / "a", []) == 0
    assert read(tmp_path / "a").num_rows == 0
    assert token_files.write(tmp_path / "a", [token_files.record_batch([], [], [])]) == 0


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield token_files.record_batch(["a:2"], [[1]], [[2]])
        raise ValueError("no more")

    token_files.write(tmp_path / "a", [token_files.record_batch(["a:1"], [[1]], [[2]])])
    with pytest.raises(ValueError, match="no more"):
        token_files.write(tmp_path / "a", failing())
    assert read(tmp_path / "a").column("id").to_pylist() == ["a:1"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_string_array_equals_that_of_pyarrow(tmp_path: Path) -> None:
    texts = ["", "a", "\u201c\U0001f600", "b" * 300]
    assert token_files.string_array(texts).equals(pa.array(texts, pa.string()))
