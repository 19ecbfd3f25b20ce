"""The preprocessing of a table as stages, whose numbers are buffers that are fitted on training rows.

Every stage has `num_rows`, the number of rows that it was fitted on: 0 says that it has not been fitted yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model_store.modalities.batch import X

DATE_PARTS = ("year", "month", "day", "weekday", "hour")
MIN_SCALE = float(torch.finfo(torch.float32).tiny)


class FittedStage(nn.Module):
    """A stage whose buffers are fitted before training."""

    keeps_dtype = True

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("num_rows", torch.zeros((), dtype=torch.int64))

    @property
    def is_fitted(self) -> bool:
        """Say whether it was fitted."""
        return int(self.get_buffer("num_rows")) > 0


class Impute(FittedStage):
    """Fills missing numbers, and appends a column of 0 and 1 for each of some columns: whether it was missing."""

    reads = writes = ("numbers",)

    def __init__(self, size: int, indicators: Sequence[int]) -> None:
        super().__init__()
        self.indicators = list(indicators)
        self.register_buffer("fill", torch.zeros(size))

    def forward(self, numbers: Tensor) -> Tensor:
        """Return [n, k + indicators], finite; numbers [n, k] may be NaN."""
        missing = numbers.isnan()
        filled = torch.where(missing, self.get_buffer("fill").to(numbers.dtype), numbers)
        if not self.indicators:
            return filled
        return torch.cat([filled, missing[:, self.indicators].to(numbers.dtype)], dim=1)


class Dates(nn.Module):
    """Appends the parts of dates: year, month, day of the month, weekday from Monday as 0, and hour.

    Days since 1970-01-01 become a date by Howard Hinnant's civil_from_days ("chrono-Compatible Low-Level Date
    Algorithms").
    """

    reads = writes = ("numbers",)
    keeps_dtype = True

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.places = list(places)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return [n, k + 5 * dates]."""
        days = numbers[:, self.places].to(torch.float64)
        whole = days.floor()
        parts = (*_civil(whole.to(torch.int64)), (whole + 3) % 7, ((days - whole) * 24).floor())
        stacked = torch.stack([part.to(numbers.dtype) for part in parts], dim=2)
        return torch.cat([numbers, stacked.flatten(1)], dim=1)


def _civil(days: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return year, month and day of days since 1970-01-01, int64."""
    shifted = days + 719_468
    era = shifted.div(146_097, rounding_mode="floor")
    of_era = shifted - era * 146_097
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted_month + 2) // 5 + 1
    month = torch.where(shifted_month < 10, shifted_month + 3, shifted_month - 9)
    return year_of_era + era * 400 + (month <= 2), month, day


class Standardise(FittedStage):
    """Gives each number mean 0 and standard deviation 1."""

    reads = writes = ("numbers",)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def forward(self, numbers: Tensor) -> Tensor:
        """Return (numbers - mean) / scale."""
        return (numbers - self.get_buffer("mean")) / self.get_buffer("scale")


class Quantile(FittedStage):
    """Maps each number to its rank among the training rows, from -1 to 1, linear between quantiles."""

    reads = writes = ("numbers",)

    def __init__(self, size: int, num_quantiles: int) -> None:
        super().__init__()
        self.register_buffer("quantiles", torch.zeros(size, num_quantiles))

    def forward(self, numbers: Tensor) -> Tensor:
        """Return ranks [n, k]; equal numbers have the mean of their ranks."""
        quantiles = self.get_buffer("quantiles")
        values = numbers.T.to(quantiles.dtype).contiguous()
        return (_rank(quantiles, values) - _rank(-quantiles.flip(1), -values)).T.to(numbers.dtype)


def _rank(quantiles: Tensor, values: Tensor) -> Tensor:
    """Return the share of quantiles [k, q] that are at most the values [k, n], linear between two of them."""
    last = quantiles.shape[1] - 1
    above = torch.searchsorted(quantiles, values, right=True).clamp(1, last)
    low, high = quantiles.gather(1, above - 1), quantiles.gather(1, above)
    width = high - low
    share = torch.where(width > 0, (values - low) / width.clamp(min=MIN_SCALE), (values >= high).to(values.dtype))
    return (above - 1 + share.clamp(0, 1)) / last


class OneHot(nn.Module):
    """Makes features of a row: its numbers, then 0 and 1 for each category of each column."""

    keeps_dtype = True

    def __init__(self, num_numbers: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.reads: tuple[str, ...] = (*(("numbers",) if num_numbers else ()), *(("categories",) if sizes else ()))
        self.num_numbers = num_numbers
        self.sizes = list(sizes)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return x [n, numbers + sum of sizes], of the dtype of the numbers, or float32."""
        dtype = tensors[0].dtype if self.num_numbers else torch.float32
        parts = [tensors[0]] if self.num_numbers else []
        for place, size in enumerate(self.sizes):
            parts.append(nn.functional.one_hot(tensors[-1][:, place], size).to(dtype))
        return torch.cat(parts, dim=1)


class Join(OneHot):
    """Makes features of a row as OneHot does, and puts those of its text, x [n, d], behind them."""

    def __init__(self, num_numbers: int, sizes: Sequence[int]) -> None:
        super().__init__(num_numbers, sizes)
        self.reads = (*self.reads, X)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return x [n, numbers + sum of sizes + d]."""
        *cells, text = tensors
        features = super().forward(*cells)
        return torch.cat([features, text.to(features.dtype)], dim=1)


class Select(FittedStage):
    """Keeps some features, and sets the others to zero; `scores` says how much each feature tells of the targets."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones(size))
        self.register_buffer("scores", torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [n, d] with zeros for features that are not kept."""
        return x * self.get_buffer("kept").to(x.dtype)


class Embed(nn.Module):
    """Makes features of a row: its numbers, then a vector for each category, which is trained."""

    def __init__(self, num_numbers: int, sizes: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.reads = (*(("numbers",) if num_numbers else ()), *(("categories",) if sizes else ()))
        self.num_numbers = num_numbers
        pairs = zip(sizes, widths, strict=True)
        self.columns = nn.ModuleList(nn.Embedding(size, width) for size, width in pairs)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return x [n, numbers + sum of widths]."""
        vectors = [column(tensors[-1][:, place]) for place, column in enumerate(self.columns)]
        return torch.cat([*([tensors[0]] if self.num_numbers else []), *vectors], dim=1)
