"""State dicts as chains: each tensor is checked against the architecture, and labels against the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from model_store.architectures import HEAD, Chain, Head, build, check_stage_tensors
from model_store.bases.weights_files import state_dict_in, without_prefixes
from model_store.errors import InvalidInput
from model_store.labels import check_labels
from model_store.tensors.stages import check_finite

_COUNTER = "num_batches_tracked"  # of BatchNorm; files from before PyTorch 0.4.1 have none


def plain_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict in float32, by the names of its model; half precision is converted."""
    found = without_prefixes(state_dict_in("the mapping", tensors))
    return {name: _as_float32(tensor) for name, tensor in found.items()}


def head_of(architecture: str, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Head:
    """Return the head that a state dict has, by the names of the architecture's own."""
    template = build(architecture, arguments, Head("linear", 1)).stage_tensors(HEAD)
    weight = next((tensors[name] for name in template if name.endswith(".weight") and name in tensors), None)
    if weight is None:
        return Head("none")
    return Head("conv" if weight.ndim == 4 else "linear", weight.shape[0])


def filled(architecture: str, arguments: Mapping[str, Any], head: Head, tensors: Mapping[str, Tensor]) -> Chain:
    """Return the chain with these tensors, in eval mode; raise InvalidInput or InvalidManifest if they do not fit."""
    chain = build(architecture, arguments, head)
    _check_complete(architecture, chain, tensors)
    chain.load_state_dict_torchvision(tensors)
    for name in chain.stage_names:
        stage = chain.stage_tensors(name)
        forms = {key: (tensor.shape, tensor.dtype) for key, tensor in stage.items()}
        check_stage_tensors(architecture, arguments, head, name, forms)
        check_finite(name, stage)
    return chain.eval()


def _check_complete(architecture: str, chain: Chain, tensors: Mapping[str, Tensor]) -> None:
    """Raise InvalidInput where tensors are missing: most often the file is another architecture's."""
    wanted = chain.state_dict_torchvision()
    missing = [name for name in wanted if name not in tensors and not name.endswith(_COUNTER)]
    if missing:
        others = [name for name in tensors if name not in wanted][:1]
        found = f", and have others, such as {others[0][:60]!r}" if others else ""
        raise InvalidInput.of(
            "weights",
            f"lack {len(missing)} of the tensors of {architecture}, such as {missing[0]!r}{found}: name the "
            "architecture that they were saved from, under its own names of its tensors",
        )


def labels_of(labels: Sequence[str] | None, head: Head, repeats_of: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the labels of a head; of torchvision's 1,000, two pairs have one name."""
    if not labels:
        return tuple(str(number) for number in range(head.outputs))
    if tuple(labels) != tuple(repeats_of):
        check_labels(labels)
    if len(labels) != head.outputs:
        found = f"a head of {head.outputs} outputs" if head.outputs else "weights without a head"
        advice = "give one for each output, in order" if head.outputs else "give none"
        raise InvalidInput.of("labels", f"there are {len(labels)} labels for {found}: {advice}")
    return tuple(labels)


def _as_float32(tensor: Tensor) -> Tensor:
    converted = tensor.detach().float() if tensor.is_floating_point() else tensor
    return converted.contiguous()
