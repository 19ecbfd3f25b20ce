"""Writes evaluations as messages of maas.training.v1."""

from __future__ import annotations

from maas.training.v1 import training_pb2 as pb

from model_store.names import dataset_name
from training_service.api.registry_convert import metrics_message
from training_service.evaluation.evaluator import Evaluated


def evaluating_message(phase: str, fraction_done: float) -> pb.EvaluateVersionResponse:
    """Say how far an evaluation is."""
    progress = pb.EvaluateVersionResponse.Progress(phase=phase, fraction_done=fraction_done)
    return pb.EvaluateVersionResponse(progress=progress)


def evaluated_message(evaluated: Evaluated) -> pb.EvaluateVersionResponse:
    """Say what an evaluation has measured."""
    evaluation = evaluated.evaluation
    return pb.EvaluateVersionResponse(
        evaluation=pb.Evaluation(
            version=str(evaluated.version),
            dataset=dataset_name(evaluated.dataset_id),
            metrics=metrics_message(evaluation.metrics),
            unknown_labels=evaluation.names[evaluation.num_known :],
            num_learned_rows=evaluated.num_learned,
            num_left_out_rows=evaluated.num_left_out,
            warning=evaluated.warning,
        )
    )
