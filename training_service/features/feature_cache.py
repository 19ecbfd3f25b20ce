"""The output of frozen stages, kept for later attempts and jobs: a killed job continues where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.manifests import Manifest
from model_store.modalities import InputSpec
from training_service.arrays.array_cache import Array, ArrayCache


@dataclass(frozen=True)
class FeatureCache:
    """Activations of a base's first stages on rows of one dataset.

    Their key has everything that their bits depend on: rows, the preparation of rows, input spec, the stages' digests,
    PyTorch, its device and its number of threads. The spec is the one that the rows are trained by. `fitted` are the
    digests of stages that were fitted to the training rows, and so are not the base's.
    """

    cache: ArrayCache
    dataset_digest: str
    base: Manifest
    spec: InputSpec
    device: torch.device
    fitted: Mapping[str, str] = field(default_factory=dict)

    def load(
        self,
        stage_names: Sequence[str],
        positions: NDArray[np.int64],
        record: np.dtype[Any],
        fill: Callable[[Array], None],
        *,
        prepared_by: str,
        view: str,
    ) -> Array:
        """Return records of these stages' output for these rows; `fill` computes missing ones.

        `prepared_by` names everything that the bits of prepared rows depend on, by their modality.
        """
        kept = {
            "dataset": self.dataset_digest,
            "rows": hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest(),
            "prepared_by": prepared_by,
            "view": view,
            "stages": self._stages(stage_names),
            "input_spec": self.spec.to_json(),
            "computed_by": [torch.__version__, self.device.type, torch.get_num_threads()],
        }
        key = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
        return self.cache.load(key, (len(positions),), record, fill)

    def _stages(self, names: Sequence[str]) -> list[Any]:
        """Return the key of the stages: digests; stages without tensors are named by the architecture."""
        digests = {**{stage.name: stage.digest for stage in self.base.stages}, **self.fitted}
        return [self.base.architecture, dict(self.base.arguments), [(name, digests.get(name, "")) for name in names]]
