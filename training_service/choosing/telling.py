"""The progress of a comparison of candidates, told by candidate and phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training_service.phases import Phase

OnProgress = Callable[[Phase, float, str], object]
_SHARES = {
    Phase.DECODING: (0.0, 0.2),
    Phase.COMPUTING_FEATURES: (0.2, 0.8),
    Phase.FITTING_HEAD: (0.8, 1.0),
}
"""About which part of a candidate's time each phase takes."""


@dataclass(frozen=True)
class Teller:
    """Tells the progress of one candidate as a share of all."""

    on_progress: OnProgress
    number: int
    num_candidates: int
    base: str

    def __call__(self, phase: Phase, share: float) -> None:
        """Say how much of a phase is done, 0 to 1."""
        begin, end = _SHARES[phase]
        done = begin + min(share, 1.0) * (end - begin)
        self.on_progress(phase, (self.number + done) / self.num_candidates, self.base)
