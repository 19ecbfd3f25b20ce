"""What a request asks the device for: rows for one version, and what is wanted of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from inference_service.models.resident import ResidentVersion
from inference_service.models.statistics import RequestTimes
from model_store.modalities import Rows
from model_store.modalities.spec import Numbers


class Output(Enum):
    """What a request asks for, a row of float32 for each of its own.

    `LOGITS` [outputs], as the head gives them; `SCORES` [outputs], the task's activation of the logits divided by the
    version's temperature: shares that sum to 1, a share for each label, or values of targets; `EMBEDDING` [d].
    """

    SCORES = auto()
    LOGITS = auto()
    EMBEDDING = auto()

    __hash__ = object.__hash__  # Enum's own hashes the name anew, a dozen times a request


Answer = Mapping[Output, Numbers]


@dataclass(frozen=True, eq=False)
class Work:
    """Rows for one version, as its input spec prepares them.

    All but `EMBEDDING` may be asked of a version with a head only. `queued_ns` is by time.perf_counter_ns.
    `times` are those of the request.
    """

    version: ResidentVersion
    rows: Rows
    outputs: frozenset[Output]
    times: RequestTimes = field(default_factory=RequestTimes)
    queued_ns: int = field(default_factory=time.perf_counter_ns)
