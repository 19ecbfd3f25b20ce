"""What a caller gives as an example, as a message: a file, an image, an array, or a row of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from maas.inference.v1.inference_pb2 import Example

from maas_client.modalities import OBJECTS


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


@runtime_checkable
class Picture(Protocol):
    """An image of Pillow; the client does not need it installed."""

    @property
    def mode(self) -> str:
        """What its elements are, such as RGB."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def getexif(self) -> Any:  # noqa: ANN401  Pillow's own
        """Return its metadata."""
        ...


Alone = Example | bytes | Path | str | Picture
"""An example that need not stand in a list."""
Given = Alone | Array | Sequence[float] | tuple[int, Array]
"""An example: the path of a file or its bytes, an image of Pillow, RGB uint8 [height, width, 3], a row of numbers, or a
pair of a sample rate and samples, float32 [n]."""
Examples = Alone | Iterable[Given]
"""One example or several, of any kinds."""


def examples_of(given: Examples) -> list[Example]:
    """Return a message for each example."""
    return [example(each) for each in ([given] if isinstance(given, Alone) else given)]


def example(given: Given) -> Example:
    """Return a message; raise OSError for a file that cannot be read, and TypeError for what is no example."""
    if isinstance(given, Example):
        return given
    if isinstance(given, bytes):
        return Example(file=given)
    if isinstance(given, Path | str):
        return Example(file=Path(given).read_bytes())
    for of_object in OBJECTS.values():
        if (made := of_object(given)) is not None:
            return made
    shape = getattr(given, "shape", ())
    found = f"{getattr(given, 'dtype', '')} {list(shape)}" if shape else type(given).__name__
    raise TypeError(
        f"an example is a file, RGB uint8 [height, width, 3] a row of numbers or cells by column, not {found}"
    )
