"""Folders in Hugging Face's layout of encoders that are not of the BERT family: by transformers' own modules.

Read are config.json, *.safetensors (in one file or by an index) and preprocessor_config.json. No code of the folder
runs: the class follows from our own table by `model_type`. Every base is proved at import: the chain answers as the
library's own model does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from model_store.architectures import Chain, Head
from model_store.architectures.libraries.needed import needed
from model_store.architectures.libraries.transformers_chains import (
    CLASSIFIER,
    CONFIG,
    LIBRARY,
    configuration,
    input_edge,
    kept_entries,
)
from model_store.architectures.libraries.transformers_kinds import KINDS
from model_store.bases.base import LoadedBase
from model_store.bases.folder_files import read_config, refused
from model_store.bases.image.preprocessor import PREPROCESSOR, read_spec, written_spec
from model_store.bases.state_dicts import filled
from model_store.bases.weights_files import sha256_of
from model_store.errors import InvalidInput
from model_store.manifests import Manifest
from model_store.modalities.batch import Batch

_REMOTE_CODE = "auto_map"
_ROWS = 2
_TOLERANCE = 1e-5
_READING_ERRORS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError, SafetensorError)


def load_encoder(folder: Path) -> LoadedBase:
    """Load an encoder, with its classifier where the folder has one, on the CPU in eval mode and float32.

    Raises InvalidInput naming the file that is missing or wrong, InvalidManifest for a configuration that cannot be
    used, and ExtraMissing without the extra `huggingface`.
    """
    config = read_config(folder)
    kind = str(config.get("model_type"))
    check_config(config)
    files = weights_in(folder)
    arguments = {CONFIG: kept_entries(kind, config)}
    labels = _labels(config) if _has_classifier(files) else ()
    own = _own_model(folder, kind, arguments, labels)
    tensors = _tensors(own, has_classifier=bool(labels))
    head = Head("linear", len(labels)) if labels else Head("none")
    chain = filled(f"{LIBRARY}:{kind}", arguments, head, tensors)
    edge = input_edge(kind, arguments)
    spec = read_spec(folder, edge)
    _prove(own, chain, edge)
    return LoadedBase(
        architecture=f"{LIBRARY}:{kind}",
        arguments=arguments,
        chain=chain,
        head=head,
        input_spec=spec,
        labels=labels,
        origin={
            "source": "folder",
            "file": files[0].name,
            "sha256": sha256_of(files[0]),
            "library": f"{LIBRARY} {needed(LIBRARY, kind).__version__}",
        },
    )


def check_config(config: Mapping[str, Any]) -> None:
    """Raise InvalidInput for an encoder that is not known, and for one whose folder names code."""
    if config.get("model_type") not in KINDS:
        said = f"is of model_type {str(config.get('model_type'))!r}: of encoders beside the BERT family, {_known()}"
        raise refused("config.json", said)
    if _REMOTE_CODE in config:
        raise refused("config.json", f"has {_REMOTE_CODE}, which names code of the folder: none of it is run here")


def save_encoder(folder: Path, manifest: Manifest, chain: Chain) -> None:
    """Write a version of such an encoder as a folder that `from_pretrained` and `load_encoder` read.

    Raises InvalidInput for another architecture, and for preprocessing that the library's processors have not.
    """
    library, _, kind = manifest.architecture.partition(":")
    if library != LIBRARY:
        raise InvalidInput.of("architecture", f"{manifest.architecture} is no encoder by transformers' own modules")
    if kind not in KINDS or KINDS[kind].sound is not None:
        said = f"{manifest.architecture} cannot be written as a folder: use --format torch-export or onnx"
        raise InvalidInput.of("architecture", said)
    tensors = chain.state_dict_torchvision()
    if chain.head is None:  # an encoder alone has no prefix
        tensors = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
    labels = {str(number): name for number, name in enumerate(manifest.names)}
    config = {**manifest.arguments[CONFIG], "model_type": kind, **({"id2label": labels} if labels else {})}
    texts = {"config.json": config, PREPROCESSOR: written_spec(manifest.input_spec)}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, values in texts.items():
        (folder / name).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _known() -> str:
    return f"known are {', '.join(KINDS)}"


def weights_in(folder: Path) -> list[Path]:
    """Return the files of weights in a folder; raise InvalidInput where there are none but pickles."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        unsafe = sorted(each.name for each in folder.glob("*.bin"))
        advice = f"{unsafe[0]} may be a pickle and is not read: " if unsafe else ""
        raise refused("*.safetensors", f"are not in the folder: {advice}write them with save_pretrained(FOLDER)")
    return files


def _has_classifier(files: list[Path]) -> bool:
    from safetensors import safe_open  # noqa: PLC0415  beside its error class, the one use

    names: set[str] = set()
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                names |= set(opened.keys())
        except (SafetensorError, OSError) as error:
            raise refused(file.name, f"is damaged or no safetensors file ({error}): download it again") from error
    return f"{CLASSIFIER}.weight" in names


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes in their order."""
    names = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))):
        raise refused("config.json", "must number its id2label from 0")
    return tuple(str(names[str(number)]) for number in range(len(names)))


def _own_model(folder: Path, kind: str, arguments: Mapping[str, Any], labels: tuple[str, ...]) -> Any:  # noqa: ANN401  transformers carries no types
    """Return the library's own model in float32 and eval mode; raise InvalidInput where tensors are missing."""
    transformers = needed(LIBRARY, f"{LIBRARY}:{kind}")
    by_kind = transformers.AutoModelForImageClassification if labels else transformers.AutoModel
    config = configuration(kind, arguments, **({"num_labels": len(labels)} if labels else {}))
    config.architectures = []  # of several classifiers of a kind, as DeiT's, the first has one head
    return read_model(folder, by_kind, config)


def read_model(folder: Path, by_kind: Any, config: Any) -> Any:  # noqa: ANN401  transformers carries no types
    """Return the model of a folder by one of the library's loaders, in float32 and eval mode.

    Raises InvalidInput where weights cannot be read, or are missing.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            model, report = by_kind.from_pretrained(
                str(folder),
                config=config,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except _READING_ERRORS as error:
        raise refused("*.safetensors", f"cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    if missing := sorted(name for name in report["missing_keys"] if not name.startswith("pooler.")):
        said = f"lack {len(missing)} of the tensors of {config.model_type}, such as {missing[0]!r}"
        raise refused("*.safetensors", said)
    return model.eval()


def _tensors(own: Any, *, has_classifier: bool) -> dict[str, Tensor]:  # noqa: ANN401  transformers carries no types
    """Return the tensors by the names of the library's classifier, without those that no embedding needs."""
    prefix = "" if has_classifier else f"{own.base_model_prefix}."
    tensors = {f"{prefix}{name}": tensor.detach().contiguous() for name, tensor in own.state_dict().items()}
    return {name: tensor for name, tensor in tensors.items() if f".{_POOLER}." not in name}


_POOLER = "pooler"


def _prove(own: Any, chain: Chain, edge: int) -> None:  # noqa: ANN401  transformers carries no types
    """Raise InvalidInput unless the chain gives what the library's own model gives for random rows."""
    rows = torch.randn(_ROWS, 3, edge, edge, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answer = own(pixel_values=rows)
        pooled = chain.stage("pool")
        wanted = pooled(answer.last_hidden_state) if chain.head is None else answer.logits
        found = chain(Batch.of(rows))
    check_proved(wanted, found)


def check_proved(wanted: Tensor, found: Tensor) -> None:
    """Raise InvalidInput unless the numbers of a chain are those of the library's model."""
    difference = (wanted - found).abs().max()
    if not difference <= _TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise refused("*.safetensors", f"cut into stages answer otherwise than the library's model, by {difference}")
