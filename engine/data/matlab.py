"""Read numeric arrays from a MATLAB file of level 5, the form in which SVHN is published.

Source: "MAT-File Format", The MathWorks, chapter on level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: Data type numbers of the format and what they are in numpy.
TYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
MATRIX, COMPRESSED = 14, 15
HEADER = 128


def read_arrays(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Return the real numeric arrays of a file by name, in MATLAB's dimensions.

    Raises:
        ValueError: the file is not a little-endian MATLAB file of level 5, or holds something else.
    """
    content = memoryview(path.read_bytes())
    if len(content) < HEADER or bytes(content[126:128]) != b"IM":
        raise ValueError(f"{path} is not a MATLAB file of level 5")
    arrays = {}
    try:
        for kind, data in _elements(content[HEADER:]):
            body = memoryview(zlib.decompress(data)) if kind == COMPRESSED else data
            inner = next(_elements(body)) if kind == COMPRESSED else (kind, data)
            if inner[0] != MATRIX:
                raise ValueError(f"{path} holds an element of kind {inner[0]}, expected an array")
            _, dimensions, name, numbers = list(_elements(inner[1]))[:4]
            shape = np.frombuffer(dimensions[1], "<i4")
            values = np.frombuffer(numbers[1], TYPES[numbers[0]])
            arrays[bytes(name[1]).decode("ascii")] = values.reshape(shape, order="F")
    except (struct.error, zlib.error, KeyError, StopIteration) as error:
        raise ValueError(f"{path} is damaged or holds something else than numeric arrays") from error
    return arrays


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield kind and bytes of the elements in a row, each padded to 8 bytes unless compressed."""
    place = 0
    while place < len(content):
        kind, size = struct.unpack_from("<II", content, place)
        if kind >> 16:  # up to 4 bytes of data sit in the tag itself
            yield kind & 0xFFFF, content[place + 4 : place + 4 + (kind >> 16)]
            place += 8
            continue
        data = content[place + 8 : place + 8 + size]
        if len(data) != size:
            raise ValueError("the file is cut short")
        yield kind, data
        place += 8 + size
        if kind != COMPRESSED:
            place += -size % 8
