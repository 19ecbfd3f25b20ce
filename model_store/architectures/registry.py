"""Which architectures there are, and how a chain of each is built, checked and filled.

A family of architectures is one module with a dict `BUILDERS` from name to builder, its `MODALITY`, and `check_input`;
add it here. A family whose chains begin with another one's stages says so by `borrows_from`. A library of models
(`timm:NAME`) is one module with `LIBRARY`, and with `build`, `modality` and `check_input` by name.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from model_store.architectures import audio, tables, tabular, vision
from model_store.architectures.chain import HEAD, Chain, writes
from model_store.architectures.head import Head
from model_store.architectures.heads import fitted_head
from model_store.architectures.libraries import timm_chains, transformers_chains
from model_store.architectures.text import encoder, gru
from model_store.errors import InvalidManifest
from model_store.modalities.batch import EMBEDDING, X
from model_store.modalities.spec import InputSpec

Builder = Callable[[Mapping[str, Any], Head], Chain]
TensorForm = tuple[Sequence[int], torch.dtype]

_FAMILIES = (vision, tabular, encoder, gru, tables, *audio.FAMILIES)
_BUILDERS: dict[str, Builder] = {name: builder for family in _FAMILIES for name, builder in family.BUILDERS.items()}

_LIBRARIES = {library.LIBRARY: library for library in (timm_chains, transformers_chains)}


def architecture_names() -> tuple[str, ...]:
    """Return the names that `build` knows without a library, related ones together."""
    return tuple(_BUILDERS)


def check_input(architecture: str, arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless the architecture takes the rows that the input spec prepares."""
    library, name = _in_library(architecture)
    if library is not None:
        _check_kind(architecture, library.modality(name), spec)
        library.check_input(name, arguments, spec)
    for family in _FAMILIES:
        if architecture in family.BUILDERS:
            _check_kind(architecture, family.MODALITY, spec)
            family.check_input(arguments, spec)


def borrowed_stages(architecture: str, arguments: Mapping[str, Any]) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    """Return the stages that are another architecture's own, by name: that architecture and its arguments.

    A version of either has the same stage for the same digest. They stay as they are: no recipe trains them.
    """
    families = (family for family in _FAMILIES if architecture in family.BUILDERS)
    borrows_from = getattr(next(families, None), "borrows_from", None)
    if borrows_from is None or (lender := borrows_from(arguments)) is None:
        return {}
    name, own = lender
    return dict.fromkeys(stage_names(name, own, Head("none")), (name, own))


def build(architecture: str, arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build a chain on the meta device: shapes without memory.

    Fill it with `load_stage`, `load_state_dict_torchvision` or `initialise_head`. Raise InvalidManifest for an unknown
    architecture, argument or kind of head.
    """
    return copy.deepcopy(_meta_chain(architecture, _frozen(arguments), head))


def build_stage(architecture: str, arguments: Mapping[str, Any], head: Head, stage: str) -> nn.Module:
    """Build one stage on the meta device; fill it with `load_state_dict(…, strict=True, assign=True)`."""
    return copy.deepcopy(_meta_chain(architecture, _frozen(arguments), head).stage(stage))


def build_random(architecture: str, arguments: Mapping[str, Any], head: Head, seed: int) -> Chain:
    """Build a chain with random weights: those of torchvision's own model after `torch.manual_seed(seed)`.

    A backbone only is the backbone of the model with its default 1000 classes. The state of the global random generator
    is unchanged.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the accelerators too, which nothing here restores.
        torch.default_generator.manual_seed(seed)
        return _builder(architecture)(arguments, head)


def with_fitted_head(chain: Chain, head: Head) -> Chain:
    """Return a chain of the same backbone's stages, with a fitted head behind it, whose tensors are empty."""
    read = EMBEDDING if any(EMBEDDING in writes(stage) for _, stage in chain.backbone) else X
    stage = fitted_head(chain.embedding_size, head, read)
    return Chain([*chain.backbone, (HEAD, stage)], chain.embedding_size)


def stage_names(architecture: str, arguments: Mapping[str, Any], head: Head) -> tuple[str, ...]:
    """Return the names of the stages, first to last."""
    return _meta_chain(architecture, _frozen(arguments), head).stage_names


def embedding_size(architecture: str, arguments: Mapping[str, Any]) -> int:
    """Return d of the embeddings [n, d] that the backbone makes and the head reads."""
    return _meta_chain(architecture, _frozen(arguments), Head("none")).embedding_size


def check_stage_tensors(
    architecture: str, arguments: Mapping[str, Any], head: Head, stage: str, tensors: Mapping[str, TensorForm]
) -> None:
    """Raise InvalidManifest, naming a tensor, unless names, shapes and dtypes are exactly the stage's."""
    expected = _meta_chain(architecture, _frozen(arguments), head).stage_tensors(stage)
    place = f"stage {stage!r} of {architecture}"
    if missing := sorted(expected.keys() - tensors.keys()):
        raise InvalidManifest(f"{place} lacks the tensor {missing[0]!r}")
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise InvalidManifest(f"{place} has no tensor {unknown[0]!r}")
    for name, (shape, dtype) in tensors.items():
        wanted = expected[name]
        if tuple(shape) != tuple(wanted.shape) or dtype != wanted.dtype:
            right, wrong = f"{wanted.dtype} {list(wanted.shape)}", f"{dtype} {list(shape)}"
            raise InvalidManifest(f"{place}: tensor {name!r} must be {right}, not {wrong}")


@lru_cache(maxsize=64)
def _meta_chain(architecture: str, arguments: str, head: Head) -> Chain:
    """Build the chain that others are copied from, which is quicker; nothing may change this one."""
    with torch.device("meta"), _NoRandomNumbers(), torch.random.fork_rng(devices=[]):
        if head.is_fitted:
            return with_fitted_head(_builder(architecture)(json.loads(arguments), Head("none")), head)
        return _builder(architecture)(json.loads(arguments), head)


class _NoRandomNumbers(TorchFunctionMode):
    """Skips the functions that fill tensors without memory with random numbers.

    PyTorch would run them in Python and import its compiler for that, once, in a second.
    """

    _FILLS = frozenset({Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Call the function, or return the tensor as it is."""
        kwargs = kwargs or {}
        if func in self._FILLS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


def _frozen(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)


def _in_library(architecture: str) -> tuple[Any, str]:
    """Return the library of `LIBRARY:NAME` and the name in it; None and an empty name for other architectures."""
    library, colon, name = architecture.partition(":")
    return (_LIBRARIES[library], name) if colon and library in _LIBRARIES else (None, "")


def _check_kind(architecture: str, modality: str, spec: InputSpec) -> None:
    if spec.kind != modality:
        raise InvalidManifest(f"input_spec.kind must be {modality!r} for {architecture}, not {spec.kind!r}")


def _builder(architecture: str) -> Builder:
    library, name = _in_library(architecture)
    if library is not None:
        return partial(library.build, name)
    builder = _BUILDERS.get(architecture)
    if builder is None:
        raise InvalidManifest(f"unknown architecture {architecture!r}; known are {', '.join(_BUILDERS)}")
    return builder
