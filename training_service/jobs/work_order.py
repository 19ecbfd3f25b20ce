"""The order of a runner to a worker: the claim of one job, and the settings of the service."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from model_store.registry.jobs import Claim
from training_service.settings import TrainingSettings

EXIT_ENDED = 0
"""The worker has ended the job itself: published, or failed with a reason."""
EXIT_STOPPED = 75
"""The worker has stopped before the end of the job, by order of the runner or because the store does not answer."""


@dataclass(frozen=True)
class WorkOrder:
    """One attempt of one job."""

    claim: Claim
    settings: TrainingSettings

    def to_line(self) -> bytes:
        """Return the order as one line of JSON."""
        values = {"claim": asdict(self.claim), "settings": self.settings.model_dump(mode="json")}
        return json.dumps(values).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Read the line that `to_line` writes."""
        values = json.loads(line)
        return cls(Claim(**values["claim"]), TrainingSettings(**values["settings"]))
