"""A recommendation: the ranking of the candidates for a dataset, and how it is kept with a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training_service.advice.advice import Advice
from training_service.choosing.candidates import LeftOut
from training_service.choosing.ranking import Measured, Ranking


@dataclass(frozen=True)
class Recommendation:
    """The ranking of the candidates for a dataset by the task's headline `metric` of `num_rows` rows.

    The `advice` is on the dataset itself, by the features of the best one.
    """

    dataset_id: str
    metric: str
    num_rows: int
    ranking: Ranking
    left_out: Sequence[LeftOut]
    advice: Sequence[Advice]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: `bases` in the order of the ranking, and `chosen`, the place of one of them."""
        ranking = self.ranking
        return {
            "dataset": self.dataset_id,
            "metric": self.metric,
            "num_rows": self.num_rows,
            "reason": ranking.reason,
            "chosen": list(ranking.ranked).index(ranking.chosen),
            "bases": [_base(each, is_alike=place < ranking.num_alike) for place, each in enumerate(ranking.ranked)],
            "left_out": [asdict(each) for each in self.left_out],
            "advice": [{**asdict(each), "kind": str(each.kind), "rows": list(each.rows)} for each in self.advice],
        }


def _base(measured: Measured, *, is_alike: bool) -> dict[str, Any]:
    candidate, costs = measured.candidate, measured.costs
    return {
        "base": str(candidate.name) if candidate.name is not None else "",
        "architecture": candidate.manifest.architecture,
        "score": measured.score.metric,
        "interval": list(measured.score.interval),
        "is_alike": is_alike,
        "diagnostics": dict(measured.diagnostics),
        "row_seconds": costs.row_seconds,
        "batch_seconds": costs.batch_seconds,
        "size_bytes": costs.size_bytes,
        "head_bytes": costs.head_bytes,
        "training_seconds": {str(name): seconds for name, seconds in measured.training.items()},
        "recipe": measured.recipe.to_json(),
    }
