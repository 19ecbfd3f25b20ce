"""Between the messages of metrics and evaluations and the service's own records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.names import dataset_name
from model_store.records.metrics import (
    ClassificationDetail,
    Detail,
    Interval,
    LabelMetrics,
    Metrics,
    MultiLabelDetail,
    RegressionDetail,
    TargetMetrics,
)
from model_store.texts import MAX_LABEL, check_line
from model_store.transactions.publication import check_metric_values
from training_service.evaluation.evaluator import Evaluated
from training_service.phases import Phase

_NUMBERS_OF_LABELS = ("precision", "recall", "f1")
_NUMBERS_OF_TARGETS = ("mae", "rmse")
PHASES: Mapping[Phase, pb.Phase] = {
    Phase.CHOOSING_BASE: pb.PHASE_CHOOSING_BASE,
    Phase.CHOOSING_INPUT: pb.PHASE_CHOOSING_INPUT,
    Phase.DECODING: pb.PHASE_DECODING,
    Phase.COMPUTING_FEATURES: pb.PHASE_COMPUTING_FEATURES,
    Phase.FITTING_HEAD: pb.PHASE_FITTING_HEAD,
    Phase.TRAINING: pb.PHASE_TRAINING,
    Phase.EVALUATING: pb.PHASE_EVALUATING,
    Phase.CROSS_VALIDATING: pb.PHASE_CROSS_VALIDATING,
    Phase.SEARCHING: pb.PHASE_SEARCHING,
}
"""Each phase on the wire."""


def evaluating_message(phase: Phase, fraction_done: float) -> pb.EvaluateModelVersionResponse:
    """Write the progress of an evaluation."""
    progress = pb.EvaluateModelVersionResponse.Progress(phase=PHASES[phase], fraction_done=fraction_done)
    return pb.EvaluateModelVersionResponse(progress=progress)


def evaluated_message(evaluated: Evaluated) -> pb.EvaluateModelVersionResponse:
    """Write the result of an evaluation."""
    evaluation = evaluated.evaluation
    return pb.EvaluateModelVersionResponse(
        evaluation=pb.Evaluation(
            version=str(evaluated.version),
            dataset=dataset_name(evaluated.dataset_id),
            metrics=metrics_message(evaluation.metrics),
            unknown_labels=evaluation.unknown,
            learned_row_count=evaluated.num_learned,
            left_out_row_count=evaluated.num_left_out,
            warning=evaluated.warning,
        )
    )


def metrics_message(metrics: Metrics) -> model_store_pb2.Metrics:
    """Write metrics."""
    intervals = {name: interval_message(each) for name, each in metrics.intervals.items()}
    message = model_store_pb2.Metrics(
        split=metrics.split, row_count=metrics.num_rows, values=metrics.values, intervals=intervals
    )
    if (found := metrics.cross_validation) is not None:
        message.cross_validation.CopyFrom(
            model_store_pb2.CrossValidation(
                metric=found.metric,
                value=found.value,
                interval=interval_message(found.interval),
                row_count=found.num_rows,
                fold_count=found.num_folds,
                repeat_count=found.num_repeats,
            )
        )
    if metrics.detail is not None:
        getattr(message, metrics.detail.kind).CopyFrom(_detail_message(metrics.detail))
    return message


def interval_message(interval: Interval) -> model_store_pb2.Interval:
    """Write an interval."""
    return model_store_pb2.Interval(low=interval.low, high=interval.high)


def _detail_message(
    detail: Detail,
) -> model_store_pb2.ClassificationDetail | model_store_pb2.MultiLabelDetail | model_store_pb2.RegressionDetail:
    match detail:
        case ClassificationDetail():
            rows = [model_store_pb2.ConfusionRow(counts=row) for row in detail.confusion_matrix]
            return model_store_pb2.ClassificationDetail(
                labels=_label_messages(detail.labels), confusion_matrix=rows, temperature=detail.temperature
            )
        case MultiLabelDetail():
            return model_store_pb2.MultiLabelDetail(
                labels=_label_messages(detail.labels), temperature=detail.temperature
            )
        case RegressionDetail():
            return model_store_pb2.RegressionDetail(
                targets=[model_store_pb2.TargetMetrics(**vars(each)) for each in detail.targets]
            )


def _label_messages(labels: Iterable[LabelMetrics]) -> list[model_store_pb2.LabelMetrics]:
    return [model_store_pb2.LabelMetrics(**vars(each)) for each in labels]


def read_metrics(message: model_store_pb2.Metrics, field: str) -> Metrics:
    """Read metrics of a caller; raise InvalidInput naming each figure that cannot be kept or compared."""
    kind = message.WhichOneof("detail")
    return Metrics(
        split=check_line(message.split, f"{field}.split", 63),
        num_rows=message.row_count,
        values=check_metric_values(message.values, f"{field}.values"),
        intervals={
            name: Interval(**check_metric_values({"low": each.low, "high": each.high}, f"{field}.intervals[{name!r}]"))
            for name, each in message.intervals.items()
        },
        detail=_READERS[kind](getattr(message, kind), f"{field}.{kind}") if kind is not None else None,
    )


def _read_classification(message: model_store_pb2.ClassificationDetail, field: str) -> ClassificationDetail:
    matrix = tuple(tuple(row.counts) for row in message.confusion_matrix)
    return ClassificationDetail(_read_labels(message.labels, field), matrix, _temperature(message.temperature, field))


def _read_multi_label(message: model_store_pb2.MultiLabelDetail, field: str) -> MultiLabelDetail:
    return MultiLabelDetail(_read_labels(message.labels, field), _temperature(message.temperature, field))


def _read_regression(message: model_store_pb2.RegressionDetail, field: str) -> RegressionDetail:
    return RegressionDetail(
        tuple(_read_target(each, f"{field}.targets[{i}]") for i, each in enumerate(message.targets))
    )


_READERS: Mapping[str, Callable[[Any, str], Detail]] = {
    "classification": _read_classification,
    "multi_label": _read_multi_label,
    "regression": _read_regression,
}


def _read_labels(messages: Iterable[model_store_pb2.LabelMetrics], field: str) -> tuple[LabelMetrics, ...]:
    return tuple(_read_label(each, f"{field}.labels[{i}]") for i, each in enumerate(messages))


def _read_label(message: model_store_pb2.LabelMetrics, field: str) -> LabelMetrics:
    numbers = _numbers(message, _NUMBERS_OF_LABELS, "average_precision", field)
    label = check_line(message.label, f"{field}.label", MAX_LABEL)
    return LabelMetrics(label=label, support=message.support, **numbers)


def _read_target(message: model_store_pb2.TargetMetrics, field: str) -> TargetMetrics:
    numbers = {"r2": None, **_numbers(message, _NUMBERS_OF_TARGETS, "r2", field)}
    quantiles = check_metric_values(
        {f"q{i}": each for i, each in enumerate(message.residual_quantiles)}, f"{field}.residual_quantiles"
    )
    target = check_line(message.target, f"{field}.target", MAX_LABEL)
    return TargetMetrics(target=target, residual_quantiles=tuple(quantiles.values()), **numbers)


def _numbers(
    message: model_store_pb2.LabelMetrics | model_store_pb2.TargetMetrics,
    names: Iterable[str],
    optional: str,
    field: str,
) -> dict[str, Any]:
    given = [*names, *([optional] if message.HasField(optional) else [])]
    return dict(check_metric_values({name: getattr(message, name) for name in given}, field))


def _temperature(value: float, field: str) -> float:
    """Read a temperature, which is 1 where none was sent."""
    return check_metric_values({"temperature": value or 1.0}, field)["temperature"]
