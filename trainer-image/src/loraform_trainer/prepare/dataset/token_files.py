"""Writes token ids of rows as Arrow stream files, which training memory-maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from loraform_trainer.runtime.files import READABLE, fsync_file, fsync_folder

SCHEMA = pa.schema([("id", pa.string()), ("prompt_ids", pa.list_(pa.int32())), ("response_ids", pa.list_(pa.int32()))])


def record_batch(
    ids: Sequence[str], prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> pa.RecordBatch:
    """Return rows as one record batch; the arguments have the same length."""
    return pa.record_batch([string_array(ids), _list_array(prompts), _list_array(responses)], schema=SCHEMA)


def string_array(texts: Sequence[str]) -> pa.Array:
    """Return texts as an Arrow column. `pa.array` does the same, but imports pandas, which takes a second."""
    encoded = [text.encode("utf-8") for text in texts]
    buffers = [None, pa.py_buffer(_offsets(encoded)), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def write(path: Path, batches: Iterable[pa.RecordBatch]) -> int:
    """Write record batches to `path`, atomically; return the number of rows. Raises OSError and errors of `batches`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    count = 0
    try:
        with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as stream:
            for batch in batches:
                stream.write_batch(batch)
                count += batch.num_rows
        partial.chmod(READABLE)
        fsync_file(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    fsync_folder(path.parent)
    return count


def _list_array(rows: Sequence[Sequence[int]]) -> pa.Array:
    flat: list[int] = []
    for row in rows:
        flat.extend(row)
    values = pa.Array.from_buffers(pa.int32(), len(flat), [None, pa.py_buffer(np.array(flat, np.int32))])
    buffers = [None, pa.py_buffer(_offsets(rows))]
    return pa.Array.from_buffers(pa.list_(pa.int32()), len(rows), buffers, children=[values])


def _offsets(rows: Sequence[Sized]) -> NDArray[np.int32]:
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return offsets
