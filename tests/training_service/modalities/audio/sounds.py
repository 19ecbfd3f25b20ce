"""Archives of small recordings: hums and hisses that a network tells apart, each unlike all others."""

from __future__ import annotations

import numpy as np

from model_store.modalities.spec import Numbers
from tests.model_store.modalities.recordings import RATE, file_of, noise, tone


def sound(label: str, seed: int) -> Numbers:
    """Return 0.6 to 1.6 seconds of a chord that falls (`hum`), or of noise that swells (`hiss`)."""
    random = np.random.default_rng([seed, len(label)])
    seconds = 0.6 + random.random()
    background = noise(seed, seconds, loudness=0.01)
    if label == "hiss":
        swell = np.interp(np.arange(background.size), np.sort(random.integers(0, background.size, 8)), random.random(8))
        return (background * 20 * swell).astype(np.float32)
    notes = [tone(float(each), seconds, loudness=0.15) for each in random.uniform(150, 900, 3)]
    return (np.sum(notes, axis=0) * np.linspace(1, 0.2, background.size) + background).astype(np.float32)


def sounds(num_each: int = 20) -> dict[str, bytes]:
    """Return files in a folder for each label, by path."""
    return {f"{label}/{seed}.wav": file_of(sound(label, seed)) for label in ("hiss", "hum") for seed in range(num_each)}


def table(paths: list[str], cells: list[str], header: str) -> bytes:
    """Return a file of targets."""
    return "\n".join([f"file,{header}", *(f"{path},{each}" for path, each in zip(paths, cells, strict=True))]).encode()


__all__ = ["RATE", "sound", "sounds", "table"]
