"""Small audio models: networks of random weights, of which several may share one backbone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from model_store.architectures import Chain, Head, build_random, initialise_head
from model_store.bases.base import LoadedBase
from model_store.modalities.audio.spec import AudioInputSpec
from tests.model_store.modalities.recordings import RATE

LABELS = ("hiss", "hum")
SPEC = AudioInputSpec(rate=RATE, window=12_512, hop=6_256, max_windows=8)
ARGUMENTS = {"audio_lstm": {"width": 8}, "log_mel_pictures": {"network": "mobilenet_v3_small", "edge": 32}}
"""What makes a network a small one."""


def audio_base(
    labels: Sequence[str] = LABELS, *, architecture: str = "speech_embedding", backbone: int = 0, head: int = 0
) -> LoadedBase:
    """Return a network with random weights by these seeds; equal seeds of the backbone make models that share it."""
    kind = Head("linear", len(labels)) if labels else Head("none")
    return LoadedBase(
        architecture=architecture,
        arguments=ARGUMENTS.get(architecture, {}),
        chain=_chain(architecture, kind, backbone, head),
        head=kind,
        input_spec=SPEC,
        labels=tuple(labels),
        origin={"source": "random"},
    )


@lru_cache
def _chain(architecture: str, kind: Head, backbone: int, head: int) -> Chain:
    """Build a chain, which nobody changes."""
    chain = build_random(architecture, ARGUMENTS.get(architecture, {}), kind, backbone)
    if kind.kind != "none":
        initialise_head(chain, head)
    return chain.eval().requires_grad_(requires_grad=False)
