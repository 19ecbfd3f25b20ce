"""Imports the library of an architecture where one of its models is built, and not before."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from model_store.errors import ExtraMissing
from model_store.extras import NotInstalled, remedy, require

_EXTRAS = {"timm": "timm", "transformers": "huggingface", "huggingface_hub": "huggingface"}


def needed(library: str, user: str) -> ModuleType:
    """Return the library; raise ExtraMissing, with the extra to install, where it is missing."""
    extra = _EXTRAS[library]
    try:
        require(extra, user)
    except NotInstalled as error:
        raise ExtraMissing(
            f"{user} needs the extra {extra!r} wherever it is imported, trained or served: "
            f'pip install "maas-transfer[{extra}]"',
            detail=remedy(extra),
        ) from error
    # Both import torchvision, which needs some help beside a CPU-only torch.
    import_module("model_store.architectures.torchvision_compat")
    return import_module(library)
