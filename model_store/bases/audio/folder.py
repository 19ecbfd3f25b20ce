"""Audio encoders in a folder of Hugging Face's layout, by transformers' own modules behind a front end of ours.

Read are config.json, *.safetensors and preprocessor_config.json. A classifier or decoder in the folder is left out.
Every base is proved at import: the chain answers as the library's own model does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model_store.architectures import Chain, Head
from model_store.architectures.audio.whisper import RATE
from model_store.architectures.libraries.needed import needed
from model_store.architectures.libraries.transformers_chains import (
    CONFIG,
    LIBRARY,
    configuration,
    entries_of,
    kept_entries,
)
from model_store.architectures.libraries.transformers_kinds import KINDS, NORMALISE, Kind
from model_store.bases.base import LoadedBase
from model_store.bases.folder_files import read_config, read_object, refused
from model_store.bases.state_dicts import filled
from model_store.bases.transformers_folders import check_config, check_proved, read_model, weights_in
from model_store.bases.weights_files import sha256_of
from model_store.modalities.audio.spec import MAX_ROW_SAMPLES, AudioInputSpec
from model_store.modalities.batch import MASK, Batch, X

PREPROCESSOR = "preprocessor_config.json"
_WINDOW = 2 * RATE  # where an encoder takes any
_MOST_WINDOWS = 30
_FRONT_END = "front_end"


def is_sound_encoder(config: Mapping[str, Any]) -> bool:
    """Say whether the `config.json` of a folder is that of an encoder that this module loads."""
    kind = KINDS.get(str(config.get("model_type")))
    return kind is not None and kind.sound is not None


def load_sound_encoder(folder: Path) -> LoadedBase:
    """Load an encoder as a base without a head, on the CPU in eval mode and float32.

    Raises InvalidInput naming the file that is missing or wrong, InvalidManifest for a configuration that cannot be
    used, and ExtraMissing without the extra `huggingface`.
    """
    config = read_config(folder)
    check_config(config)
    name = str(config["model_type"])
    kind, said = KINDS[name], read_object(folder, PREPROCESSOR)
    arguments = {CONFIG: kept_entries(name, config)}
    if NORMALISE in kind.arguments:
        arguments[NORMALISE] = said.get("do_normalize", True)
    files = weights_in(folder)
    own_config = configuration(name, arguments)
    spec = _input_spec(said, kind, own_config)
    transformers = needed(LIBRARY, f"{LIBRARY}:{name}")
    model = read_model(folder, transformers.AutoModel, transformers.AutoConfig.for_model(name, **entries_of(config)))
    encoder = model.get_submodule(kind.part) if kind.part else model
    front_end = _front_end(kind, own_config, arguments)
    tensors = _named(front_end, _FRONT_END) | _named(encoder, kind.part or str(model.base_model_prefix))
    chain = filled(f"{LIBRARY}:{name}", arguments, Head("none"), tensors)
    _prove(encoder, front_end, chain, kind, spec)
    return LoadedBase(
        architecture=f"{LIBRARY}:{name}",
        arguments=arguments,
        chain=chain,
        head=Head("none"),
        input_spec=spec,
        labels=(),
        origin={
            "source": "folder",
            "file": files[0].name,
            "sha256": sha256_of(files[0]),
            "library": f"{LIBRARY} {transformers.__version__}",
        },
    )


def _input_spec(said: Mapping[str, Any], kind: Kind, config: Any) -> AudioInputSpec:  # noqa: ANN401  transformers carries no types
    """Return windows that the encoder takes; raise InvalidInput where it hears otherwise than the front end."""
    wanted = {"sampling_rate": RATE, "feature_size": int(config.num_mel_bins) if kind.part else 1}
    for key, value in wanted.items():
        if said.get(key, value) != value:
            raise refused(PREPROCESSOR, f"has {key} {said[key]!r}; known is {value}")
    if kind.sound is None:
        raise ValueError(f"{kind} takes no samples")
    least, most = kind.sound.window(config)
    window = min(max(_WINDOW, least), most)
    return AudioInputSpec(
        rate=RATE,
        window=window,
        hop=window,
        max_windows=min(_MOST_WINDOWS, MAX_ROW_SAMPLES // window),
        centred=True,
    )


def _front_end(kind: Kind, config: Any, arguments: Mapping[str, Any]) -> nn.Module:  # noqa: ANN401  as above
    if kind.sound is None:
        raise ValueError(f"{kind} takes no samples")
    return kind.sound.front_end(config, arguments)


def _named(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor.detach().contiguous() for name, tensor in module.state_dict().items()}


def _prove(encoder: Any, front_end: nn.Module, chain: Chain, kind: Kind, spec: AudioInputSpec) -> None:  # noqa: ANN401  as above
    """Raise InvalidInput unless the chain gives what the library's own encoder gives for random samples."""
    samples = torch.randn(2, spec.window, generator=torch.Generator().manual_seed(0)) / 10
    with torch.no_grad():
        wanted = kind.pool(encoder.config)(encoder(**{kind.input: front_end(samples)}).last_hidden_state)
        rows = Batch({X: samples.unsqueeze(1), MASK: torch.ones(2, 1, dtype=torch.bool)}, 2)
        found = chain(rows)
    check_proved(wanted, found)
