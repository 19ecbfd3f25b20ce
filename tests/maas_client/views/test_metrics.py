"""What a person is told of the metrics of each task."""

from __future__ import annotations

import pytest
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.views.metrics import headline, show_metrics

LABELS = [pb.LabelMetrics(label="rose", precision=0.5, recall=1, f1=2 / 3, support=2, average_precision=0.75)]
CLASSIFICATION = pb.Metrics(
    values={"accuracy": 0.5, "expected_calibration_error": 0.1, "uncalibrated_error": 0.2},
    intervals={"accuracy": pb.Interval(low=0.25, high=0.75)},
    classification=pb.ClassificationDetail(labels=LABELS, temperature=2),
)
MULTI_LABEL = pb.Metrics(values={"micro_f1": 0.5, "macro_f1": 0.25}, multi_label=pb.MultiLabelDetail(labels=LABELS))
REGRESSION = pb.Metrics(
    values={"rmse": 1234.5678, "r2": 0.75},
    regression=pb.RegressionDetail(targets=[pb.TargetMetrics(target="price", mae=99.999, rmse=1234.5678)]),
)


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (CLASSIFICATION, "accuracy 0.500 (0.250 to 0.750)  calibration error 0.100 (temperature 2.00; 0.200 without)"),
        (MULTI_LABEL, "macro F1 0.250  micro F1 0.500"),
        (REGRESSION, "R2 0.750  RMSE 1235"),
    ],
    ids=["classification", "multi_label", "regression"],
)
def test_the_metrics_of_each_task_are_shown(metrics: pb.Metrics, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of labels or targets, and one line that sums them up, the task's own metric first."""
    show_metrics("flowers/1", metrics)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1].strip() == told
    assert ("rose" in printed, "0.667" in printed) == (metrics is not REGRESSION, metrics is not REGRESSION)
    assert ("price" in printed) is (metrics is REGRESSION)


def test_a_cross_validated_recipe_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody takes it for a figure of the test split."""
    validated = pb.CrossValidation(
        metric="accuracy",
        value=0.87,
        interval=pb.Interval(low=0.8, high=0.9),
        row_count=237,
        fold_count=5,
        repeat_count=2,
    )
    show_metrics("flowers/1", pb.Metrics(values={"accuracy": 0.5}, cross_validation=validated))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    told = "the recipe, cross-validated on all 237 examples (5 folds, 2 draws): accuracy 0.870 (0.800 to 0.900)"
    assert lines[-2:] == ["accuracy 0.500", told]


def test_a_figure_that_a_publisher_invented_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind those that are known, by its own name."""
    show_metrics("flowers/1", pb.Metrics(values={"kappa": 0.12345, "accuracy": 0.5}))
    assert capsys.readouterr().out.splitlines()[-1].strip() == "accuracy 0.500  kappa 0.1235"


def test_each_task_has_a_metric_that_sums_it_up() -> None:
    """It is the first of those that a version is shown with; of metrics without a detail nothing is known."""
    found = [headline(each) for each in (CLASSIFICATION, MULTI_LABEL, REGRESSION, pb.Metrics())]
    assert found == ["accuracy", "macro_f1", "r2", ""]
