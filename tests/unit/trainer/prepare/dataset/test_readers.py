"""Reading valid and damaged files of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loraform_api.sources import FileFormat
from loraform_trainer.prepare.dataset import readers
from loraform_trainer.prepare.dataset.readers import BadRow, format_of, read
from loraform_trainer.prepare.dataset.rows import MAX_LINE_BYTES
from loraform_trainer.runtime.errors import DatasetInvalidError

EVERYTHING = frozenset({"a", "b", "messages"})


def rows(path: Path, file_format: FileFormat) -> list[tuple[int, Any]]:
    return list(read(path, file_format, EVERYTHING))


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "rows"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("a.jsonl", None, FileFormat.JSONL),
        ("a.JSON", None, FileFormat.JSON),
        ("a.csv", None, FileFormat.CSV),
        ("a.parquet", None, FileFormat.PARQUET),
        ("a.txt", None, FileFormat.JSONL),
        ("a.json", FileFormat.JSONL, FileFormat.JSONL),
    ],
)
def test_the_suffix_decides_the_format_unless_the_source_does(name: str, given: Any, expected: FileFormat) -> None:
    assert format_of(name, given) is expected


class TestJsonLines:
    def test_rows_have_the_numbers_of_their_lines(self, tmp_path: Path) -> None:
        path = written(tmp_path, '\ufeff{"a": "\u2028"}\n\n{"a": 2}')
        assert rows(path, FileFormat.JSONL) == [(1, {"a": "\u2028"}), (3, {"a": 2})]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"{not json", "not JSON"),
            (b"[1]", "must be a JSON object, not a list"),
            (b"null", "not null"),
            (b'{"a": "\\ud800"}', "not JSON"),
            (b'{"a": "\xff"}', "not JSON"),
            (b'{"a": NaN}', "not JSON"),
            (b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "not JSON"),
            (b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}', f"longer than {MAX_LINE_BYTES} bytes"),
        ],
    )
    def test_an_invalid_line_is_reported_and_reading_continues(self, tmp_path: Path, line: bytes, reason: str) -> None:
        (first, bad), second = rows(written(tmp_path, line + b'\n{"a": 1}\n'), FileFormat.JSONL)
        assert first == 1
        assert isinstance(bad, BadRow)
        assert reason in bad.reason
        assert second == (2, {"a": 1})


class TestJsonArray:
    @pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 16])
    def test_objects_are_read_with_any_chunk_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
    ) -> None:
        monkeypatch.setattr(readers, "CHUNK", chunk)
        values = [{"a": "x]},[{"}, {"b": [1, {"c": None}]}, {}, {"a": 'ü\\" '}]
        path = written(tmp_path, " " + json.dumps(values, indent=1) + "\n")
        assert [value for _, value in rows(path, FileFormat.JSON)] == values

    def test_an_element_that_is_not_an_object_is_reported(self, tmp_path: Path) -> None:
        read_rows = rows(written(tmp_path, '[{"a": 1}, 12, {"a": 2}]'), FileFormat.JSON)
        assert read_rows[1] == (2, BadRow("must be an object, not a number"))
        assert read_rows[2] == (3, {"a": 2})

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"a": 1}', "row 1: the file is not a JSON array: it must begin with `[`"),
            ('[{"a": 1} {"a": 2}]', "row 2: the file is not a JSON array: a comma is missing"),
            ('[{"a": 1}, {"a"', "row 2: the file is not a JSON array"),
            ('[{"a": 1}', "row 2: the file is not a JSON array"),
            ("[] x", "text follows the array"),
            ("", "it ends too early"),
            ("[" + "[" * 100_000, "nested too deeply"),
            ('["' + "x" * (MAX_LINE_BYTES + 70_000), f"longer than {MAX_LINE_BYTES} characters"),
        ],
    )
    def test_a_damaged_file_names_the_row(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(DatasetInvalidError, match=r"row \d+: ") as caught:
            rows(written(tmp_path, text), FileFormat.JSON)
        assert message in caught.value.message


class TestCsv:
    def test_cells_may_hold_lines_and_quotes(self, tmp_path: Path) -> None:
        path = written(tmp_path, '\ufeffa,b\n"one\n""two""",x\n,y\n')
        assert rows(path, FileFormat.CSV) == [(1, {"a": 'one\n"two"', "b": "x"}), (2, {"a": "", "b": "y"})]

    def test_a_row_with_surplus_fields_is_reported(self, tmp_path: Path) -> None:
        read_rows = rows(written(tmp_path, "a,b\n1,2,3,4\n5,6\n"), FileFormat.CSV)
        assert read_rows == [(1, BadRow("2 more fields than the header has")), (2, {"a": "5", "b": "6"})]

    @pytest.mark.parametrize(
        "text", [b'a,b\n1,2\n"never closed,3\n', b"a\n1\n\xff\n", b"a\n1\n" + b"x" * (MAX_LINE_BYTES + 1)]
    )
    def test_a_damaged_file_names_the_row(self, tmp_path: Path, text: bytes) -> None:
        with pytest.raises(DatasetInvalidError, match=r"row [12]: the file is not CSV"):
            rows(written(tmp_path, text), FileFormat.CSV)


class TestParquet:
    def test_only_the_requested_columns_are_read(self, tmp_path: Path) -> None:
        table = pa.table({"a": ["x", None], "other": [1, 2], "messages": [[{"role": "user", "content": "c"}], []]})
        pq.write_table(table, tmp_path / "rows")
        assert rows(tmp_path / "rows", FileFormat.PARQUET) == [
            (1, {"a": "x", "messages": [{"role": "user", "content": "c"}]}),
            (2, {"a": None, "messages": []}),
        ]

    def test_a_damaged_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetInvalidError, match="row 1: the file is not Parquet"):
            rows(written(tmp_path, b"PAR1 and nothing else"), FileFormat.PARQUET)

    def test_a_row_group_above_the_limit_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "MAX_ROW_GROUP_BYTES", 1000)
        pq.write_table(pa.table({"a": ["x" * 10_000]}), tmp_path / "rows")
        with pytest.raises(DatasetInvalidError, match=r"row group 0 has .* more than 1000"):
            rows(tmp_path / "rows", FileFormat.PARQUET)
