"""From the numbers of an answer to predictions: a writer for each task, and the options that belong to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from maas.inference.v1 import inference_pb2 as pb

from inference_service.errors import NoHead
from inference_service.models.resident import ResidentVersion
from model_store.errors import InvalidInput
from model_store.modalities.spec import Numbers
from model_store.tasks import Task
from model_store.tasks.task import THRESHOLD

_DEFAULT_TOP_K = 5
_TASK_OF_OPTION = {"top_k": "classification"}


def read_options(request: pb.PredictRequest, version: ResidentVersion) -> Task:
    """Return the task of the version that is asked.

    Raises NoHead for a backbone only, and InvalidInput for an option that is malformed, or of another task.
    """
    if version.task is None:
        raise NoHead(f"{version.name} is a backbone without a task: fine-tune it first, or call Embed")
    for option, kind in _TASK_OF_OPTION.items():
        if getattr(request, option) and version.task.kind != kind:
            rule = f"is an option of {kind}, and the task of {version.name} is {version.task.kind}: leave it out"
            raise InvalidInput.of(option, rule)
    if request.top_k < 0:
        raise InvalidInput.of("top_k", f"must be 0 or more, not {request.top_k}")
    return version.task


def predictions(task: Task, scores: Numbers, request: pb.PredictRequest) -> list[pb.Prediction]:
    """Return a prediction for each row of scores [n, outputs], the numbers behind the task's activation."""
    return _WRITERS[task.kind](task.names, scores, request)


def _classifications(labels: Sequence[str], scores: Numbers, request: pb.PredictRequest) -> list[pb.Prediction]:
    """Write the best labels of each row; the first label wins a tie."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, : request.top_k or _DEFAULT_TOP_K]
    found = (
        [pb.LabelScore(label=labels[i], score=row[i]) for i in order] for row, order in zip(scores, best, strict=True)
    )
    return [pb.Prediction(classification=pb.Classification(scores=each)) for each in found]


def _label_sets(labels: Sequence[str], scores: Numbers, _: pb.PredictRequest) -> list[pb.Prediction]:
    """Write all labels of each row, the highest score first, each with its decision."""
    order = np.argsort(-scores, axis=1, kind="stable")
    found = (
        [pb.LabelDecision(label=labels[i], score=row[i], assigned=row[i] >= THRESHOLD) for i in columns]
        for row, columns in zip(scores, order, strict=True)
    )
    return [pb.Prediction(multi_label=pb.MultiLabel(labels=each)) for each in found]


def _values(targets: Sequence[str], values: Numbers, _: pb.PredictRequest) -> list[pb.Prediction]:
    """Write the value of each target."""
    found = (
        [pb.TargetValue(target=target, value=value) for target, value in zip(targets, row, strict=True)]
        for row in values
    )
    return [pb.Prediction(regression=pb.Regression(targets=each)) for each in found]


_WRITERS: Mapping[str, Callable[[Sequence[str], Numbers, pb.PredictRequest], list[pb.Prediction]]] = {
    "classification": _classifications,
    "multi_label": _label_sets,
    "regression": _values,
}
