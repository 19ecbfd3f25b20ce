"""The input spec of recordings: one channel, resampled to one rate, cut into windows of equal length."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_store.errors import InvalidExample, InvalidManifest
from model_store.modalities.audio.decoding import (
    MAX_RATE,
    MIN_RATE,
    Recording,
    check_rate,
    check_size,
    checked_samples,
    open_recording,
)
from model_store.modalities.audio.resampling import resampled, resampled_size
from model_store.modalities.batch import MASK, Batch, X
from model_store.modalities.checks import check, check_names, check_num_rows
from model_store.modalities.spec import Array, Limits, Numbers, Rows, TensorForm, concatenated_rows

KIND = "audio"
MAX_ROW_SAMPLES = 16_000 * 600
"""The largest number of samples in the windows of one row: ten minutes of speech."""
LIMITS = Limits(example=50_000_000, request=200_000_000, batch_cost=1_000_000, queue_cost=64_000_000)
WINDOWS = "windows"
"""The samples of a row, int16 [n, windows, samples]; its mask says which windows are of the recording: [n, windows]."""
_SAMPLES_TENSOR, _RATE_TENSOR, _FILE_TENSOR = "SAMPLES", "RATE", "AUDIO"
_FULL_SCALE = 32768
_LEFT_OUT = 0.01  # of the energy, at each end of a recording whose windows are centred
_WindowsArray = NDArray[np.int16]


@dataclass(frozen=True)
class AudioInputSpec:
    """How a recording becomes rows of samples: `rate` in hertz, `window` and `hop` in samples of that rate.

    A window begins every `hop` samples until the end of the recording, and the last one is filled up with silence. Of a
    recording with more than `max_windows`, that number is taken, spread evenly from its start to its end. With
    `centred` the windows cover the part that has all energy but a hundredth at each end, and have it in their middle: a
    word is at the same place in its window, whatever silence is around it. Samples are kept in 16 bits, as most files
    have them; louder ones are clipped.
    """

    rate: int
    window: int
    hop: int
    max_windows: int = 32
    centred: bool = False
    kind: str = KIND

    def __post_init__(self) -> None:
        check(self.kind == KIND, "kind", f"must be {KIND!r}")
        for name, least, most in (("rate", MIN_RATE, MAX_RATE), ("window", 16, MAX_ROW_SAMPLES)):
            check(_is_integer(getattr(self, name), least, most), name, f"must be an integer in {least}..{most}")
        check(_is_integer(self.hop, 1, self.window), "hop", "must be an integer in 1..window")
        check(type(self.centred) is bool, "centred", "must be true or false")
        most = MAX_ROW_SAMPLES // self.window
        check(_is_integer(self.max_windows, 1, most), "max_windows", f"must be an integer in 1..{most}")

    @property
    def unit(self) -> str:
        """The unit of sizes."""
        return "samples"

    @property
    def rows_key(self) -> Hashable:
        """The whole spec."""
        return self

    @property
    def device_key(self) -> Hashable:
        """The whole spec: windows of another size are others."""
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the form in a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form in a manifest; raise InvalidManifest naming the wrong field."""
        check_names(values, (field.name for field in fields(cls)))
        return cls(**values)

    def stored(self, data: bytes) -> object:
        """Return the file of a recording, as it is kept."""
        return data

    def open(self, example: object, max_size: int) -> OpenedRecording:
        """Look at a file's bytes, or at a pair of rate (hertz) and samples (float32 [n]).

        Raises InvalidExample for anything else, and as `open_recording` does.
        """
        if isinstance(example, bytes):
            return OpenedRecording(open_recording(example, max_samples=max_size), self)
        if not isinstance(example, tuple) or len(example) != 2:
            raise InvalidExample("must be a recording: the bytes of a file, or samples with their rate")
        rate, samples = example
        check_rate(rate)
        check_size(samples.size, max_size)
        return OpenedRecording(_Given(rate, checked_samples(samples)), self)

    def num_windows(self, num_frames: int, rate: int) -> int:
        """Return the number of windows that are cut out of a recording with so many samples a channel, at most."""
        beyond = max(0, resampled_size(num_frames, rate, self.rate) - self.window)
        return min(1 + -(-beyond // self.hop), self.max_windows)

    def padded_windows(self, num_windows: int) -> int:
        """Return the number of windows in a row: 1, 2, 3, 4, 6, 8, 12, 16, … so that many rows have one form."""
        power = 1 << (num_windows - 1).bit_length()
        between = power // 4 * 3
        return min(between if between >= num_windows else power, self.max_windows)

    def form(self, rows: Rows) -> Hashable:
        """Return the number of windows and their size."""
        return rows.arrays[WINDOWS].shape[1:]

    def cost(self, rows: Rows) -> int:
        """Return the number of samples in all windows of a row."""
        _, num_windows, size = rows.arrays[WINDOWS].shape
        return int(num_windows * size)

    def collate(self, rows: Sequence[Rows]) -> Rows:
        """Concatenate; rows of fewer windows are filled up with windows that the mask leaves out."""
        most = max(each.arrays[WINDOWS].shape[1] for each in rows)
        return concatenated_rows([_with_windows(each, most) for each in rows])

    def to_input(self, batch: Batch) -> Batch:
        """Return `x`, float32 [n, windows, window] of -1 to 1, and the `mask` of windows."""
        x = batch.tensors[WINDOWS].to(torch.float32).div_(_FULL_SCALE)
        return Batch({X: x, MASK: batch.tensors[MASK]}, batch.num_rows)

    def blank(self) -> Rows:
        """Return the longest row, of silence."""
        return self.blank_of(self.max_windows)

    def blank_of(self, num_windows: int) -> Rows:
        """Return a row of this number of windows, of silence."""
        return _rows(np.zeros((1, num_windows, self.window), np.int16), num_windows)

    def tensors(self) -> tuple[TensorForm, ...]:
        """Return SAMPLES (float32, of any number) with RATE (hertz), or AUDIO (a file)."""
        return (
            TensorForm(_SAMPLES_TENSOR, "float32", (-1,), alternative=0),
            TensorForm(_RATE_TENSOR, "int64", (), alternative=0),
            TensorForm(_FILE_TENSOR, "bytes", (), alternative=1),
        )

    def read_tensors(self, tensors: Mapping[str, Array]) -> Sequence[object]:
        """Return recordings to be opened: files, or pairs of rate and samples."""
        if _FILE_TENSOR in tensors:
            return list(tensors[_FILE_TENSOR])
        rates = tensors[_RATE_TENSOR].reshape(-1).tolist()
        return list(zip(rates, tensors[_SAMPLES_TENSOR], strict=True))

    def to_blob(self, rows: Rows) -> dict[str, Tensor]:
        """Return `windows`, int16 [n, windows, window], and `mask`."""
        return {name: torch.from_numpy(np.ascontiguousarray(rows.arrays[name])) for name in (WINDOWS, MASK)}

    def from_blob(self, tensors: Mapping[str, Tensor], max_rows: int) -> Rows:
        """Read `to_blob`'s tensors; raise InvalidManifest for any other form."""
        if set(tensors) != {WINDOWS, MASK}:
            raise InvalidManifest(f"must have the tensors {WINDOWS!r} and {MASK!r}")
        windows, mask = tensors[WINDOWS], tensors[MASK]
        check_num_rows(len(windows) if windows.ndim else 0, max_rows)
        num_windows = windows.shape[1] if windows.ndim == 3 else 0
        wanted = (len(windows), num_windows, self.window)
        if windows.dtype != torch.int16 or windows.shape != wanted or not 1 <= num_windows <= self.max_windows:
            rule = f"int16 [n, 1 to {self.max_windows}, {self.window}]"
            raise InvalidManifest(f"{WINDOWS} must be {rule}, not {windows.dtype} {list(windows.shape)}")
        if mask.dtype != torch.bool or mask.shape != wanted[:2] or not bool(mask.any(dim=1).all()):
            raise InvalidManifest(f"{MASK} must be bool {list(wanted[:2])} with a window in each row")
        return Rows({WINDOWS: windows.numpy(), MASK: mask.numpy()}, len(windows))


@dataclass(frozen=True)
class _Given:
    """Samples that came without a file."""

    rate: int
    given: Numbers

    @property
    def num_frames(self) -> int:
        return self.given.size

    @property
    def num_samples(self) -> int:
        return self.given.size

    def samples(self) -> Numbers:
        return self.given


@dataclass(frozen=True)
class OpenedRecording:
    """A recording that is not decoded yet."""

    sound: Recording | _Given
    spec: AudioInputSpec

    @property
    def size(self) -> int:
        """The number of samples of all channels."""
        return self.sound.num_samples

    def prepare(self) -> Rows:
        """Decode, resample and cut into windows: one row."""
        samples = resampled(self.sound.samples(), self.sound.rate, self.spec.rate)
        return _rows(*cut(samples, self.spec))


def cut(samples: Numbers, spec: AudioInputSpec) -> tuple[_WindowsArray, int]:
    """Return samples of the spec's rate as int16 [1, windows, window], and how many windows are not filling."""
    low, high = _loud_part(samples) if spec.centred else (0, samples.size)
    num_windows = spec.num_windows(high - low, spec.rate)
    last_start = max(0, high - low - spec.window)
    if 1 + -(-last_start // spec.hop) > num_windows:
        starts = low + np.linspace(0, last_start, num_windows).astype(np.int64)
    else:
        covered = spec.window + (num_windows - 1) * spec.hop
        first = (low + high - covered) // 2 if spec.centred else 0
        starts = first + np.arange(num_windows) * spec.hop
    windows = np.zeros((1, spec.padded_windows(num_windows), spec.window), np.int16)
    for row, start in zip(windows[0], starts.tolist(), strict=False):
        part = samples[max(0, start) : max(0, start + spec.window)]
        before = max(0, -start)
        row[before : before + part.size] = (part * _FULL_SCALE).round().clip(-_FULL_SCALE, _FULL_SCALE - 1)
    return windows, num_windows


def _loud_part(samples: Numbers) -> tuple[int, int]:
    """Return start and end of the part that has all energy but a hundredth at each end; of silence, all of it."""
    energy = np.cumsum(np.square(samples, dtype=np.float64))
    if not energy[-1]:
        return 0, samples.size
    low, high = np.searchsorted(energy, [_LEFT_OUT * energy[-1], (1 - _LEFT_OUT) * energy[-1]]).tolist()
    return low, min(high + 1, samples.size)


def _rows(windows: _WindowsArray, num_windows: int) -> Rows:
    mask = np.arange(windows.shape[1])[None] < num_windows
    return Rows({WINDOWS: windows, MASK: mask}, 1)


def _with_windows(rows: Rows, num_windows: int) -> Rows:
    """Return rows with at least this number of windows, the further ones masked."""
    missing = num_windows - rows.arrays[WINDOWS].shape[1]
    if not missing:
        return rows
    filling = {WINDOWS: ((0, 0), (0, missing), (0, 0)), MASK: ((0, 0), (0, missing))}
    return Rows({name: np.pad(rows.arrays[name], filling[name]) for name in filling}, rows.num_rows)


def _is_integer(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
