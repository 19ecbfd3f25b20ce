"""What a caller gives as an example, as a message: a file, an array, or a row of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from maas.inference.v1 import inference_pb2 as pb
from maas.inference.v1.inference_pb2 import Example, Values


class Array(Protocol):
    """An array of numpy, or of a library with the same attributes; the client needs none of them installed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each dimension."""
        ...

    @property
    def dtype(self) -> Any:  # noqa: ANN401  each library's own
        """Type of the elements."""
        ...

    def tobytes(self) -> bytes:
        """Return the elements, the last dimension first."""
        ...

    def tolist(self) -> Any:  # noqa: ANN401  nested as the shape is
        """Return the elements as numbers."""
        ...


Given = Example | bytes | Path | str | Array | Sequence[float]
"""An example: the bytes of a file or its path, RGB uint8 [height, width, 3], a row of numbers, or a message."""


def example(given: Given) -> Example:
    """Return a message; raise OSError for a file that cannot be read, and TypeError for what is no example."""
    if isinstance(given, Example):
        return given
    if isinstance(given, bytes):
        return Example(file=given)
    if isinstance(given, Path | str):
        return Example(file=Path(given).read_bytes())
    if isinstance(given, Sequence):
        return Example(values=Values(numbers=map(float, given)))
    return _of_array(given)


def _of_array(array: Array) -> Example:
    shape: tuple[int, ...] = getattr(array, "shape", ())
    if len(shape) == 1:
        return Example(values=Values(numbers=array.tolist()))
    if len(shape) == 3 and shape[2] == 3 and str(array.dtype) == "uint8":
        return Example(pixels=pb.Pixels(height=shape[0], width=shape[1], data=array.tobytes()))
    found = f"{array.dtype} {list(shape)}" if shape else type(array).__name__
    raise TypeError(f"an example is a file, RGB uint8 [height, width, 3] or a row of numbers, not {found}")
