"""Reading a table whose last chunk a killed writer left half written.

A chunk is written over in place, with a checksum behind it. A kill in the middle leaves the first pages of the new
version and the rest of the old one, with the checksum of the old. Rows are only appended, and a table says that it is
longer only after its rows are there, so the rows that it has are the same in both versions, and the old version can be
put together again: its other rows were filled with one value. Its checksum tells whether that is what was written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: Bytes of the checksum behind the data of a chunk. Source: HDF5 User Guide, Fletcher32 filter.
CHECKSUM_BYTES = 4


def read_rows(dataset: Any, start: int, stop: int) -> np.ndarray:
    """Read rows of a data set with checksums, `start` to before `stop` of its [T, ...].

    Raises:
        OSError: a chunk fails its checksum, and not because a kill tore the last one.
    """
    try:
        return np.asarray(dataset[start:stop])
    except OSError:
        rows = dataset.shape[0]
        first = (rows - 1) // dataset.chunks[0] * dataset.chunks[0]
        last = _untorn(dataset, first) if rows else None
        if last is None or not start < rows or stop <= first:
            raise
        before = np.asarray(dataset[start:first]) if start < first else last[:0]
        return np.concatenate([before, last[max(0, start - first) : stop - first]])


def _untorn(dataset: Any, first: int) -> np.ndarray | None:
    """The rows of the chunk that begins at row `first`, [T', ...]; None if its checksum is that of something else."""
    if any(chunk < length for chunk, length in zip(dataset.chunks[1:], dataset.shape[1:], strict=True)):
        return None
    origin = (first, *[0] * (dataset.ndim - 1))
    _, stored = dataset.id.read_direct_chunk(origin)
    chunk = np.frombuffer(stored[:-CHECKSUM_BYTES], dataset.dtype).reshape(dataset.chunks).copy()
    rows = dataset.shape[0] - first
    chunk[rows:] = dataset.fillvalue
    if _with_checksum(chunk)[-CHECKSUM_BYTES:] != stored[-CHECKSUM_BYTES:]:
        return None
    return chunk[(slice(rows), *map(slice, dataset.shape[1:]))]


def _with_checksum(chunk: np.ndarray) -> bytes:
    """A chunk as HDF5 stores it, with its checksum behind it."""
    import h5py

    with h5py.File("chunk", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("chunk", data=chunk, chunks=chunk.shape, fletcher32=True)
        dataset.flush()
        return bytes(dataset.id.read_direct_chunk((0,) * chunk.ndim)[1])
