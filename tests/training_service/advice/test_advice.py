"""Wrong labels, outliers, leaks and learning curves are found where they were put, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training_service.advice.advice import AdviceKind, Examined, advise_on_labels
from training_service.advice.label_issues import likely_wrong
from training_service.advice.leaks import leaks
from training_service.advice.learning_curve import learning_curve
from training_service.advice.outliers import outliers


def test_confident_learning_by_its_definition() -> None:
    """Row by row, with plain loops; a label that no row has is never the right one."""
    draws = np.random.default_rng(0)
    shares = draws.dirichlet(np.ones(4), 200)
    labels = draws.integers(0, 3, 200)
    means = [np.mean([shares[row, label] for row in range(200) if labels[row] == label]) for label in range(3)]
    wanted = {}
    for row in range(200):
        confident = [label for label in range(3) if shares[row, label] >= means[label]]
        best = max(confident, key=lambda label: shares[row, label], default=labels[row])
        if best != labels[row]:
            own = shares[row, labels[row]]
            wanted[row] = own - max(share for label, share in enumerate(shares[row]) if label != labels[row])
    assert list(likely_wrong(shares, labels)) == sorted(wanted, key=lambda row: wanted[row])


def test_flipped_labels_of_digits_come_first() -> None:
    """Of as many rows as were flipped, named first, at least three in five were."""
    features, labels = load_digits(return_X_y=True)
    features, labels = features[:600], labels[:600].copy()
    draws = np.random.default_rng(0)
    flipped = draws.choice(600, 30, replace=False)
    labels[flipped] = (labels[flipped] + draws.integers(1, 10, 30)) % 10
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    shares = cross_val_predict(model, features, labels, cv=5, method="predict_proba")
    found = likely_wrong(shares, labels)[:30]
    assert len(set(found) & set(flipped)) >= 18


def test_rows_that_are_far_from_all_others_are_outliers() -> None:
    """The farthest first; rows of one cloud have none, and few rows have none."""
    rows = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    assert len(outliers(rows)) == 0
    rows[[7, 50]] += np.array([[30], [60]], np.float32)
    assert list(outliers(rows)) == [50, 7]
    assert len(outliers(rows[:20])) == 0
    assert len(outliers(np.ones((50, 3), np.float32))) == 0


def columns_of(features: NDArray[np.float64]) -> list[tuple[str, NDArray[np.float64]]]:
    """Name columns by their places."""
    return [(str(place), column) for place, column in enumerate(features.T)]


def test_a_column_that_tells_the_target_is_a_leak() -> None:
    """A label that was written down as a number; no column of an honest set, though some tell much."""
    features, labels = load_breast_cancer(return_X_y=True)
    assert list(leaks(columns_of(features), labels, is_label=True)) == []
    written = np.where(labels == 1, 17.0, 4.0) + np.random.default_rng(0).normal(size=len(labels)) / 10
    found = dict(leaks([*columns_of(features), ("outcome", written)], labels, is_label=True))
    assert found == {"outcome": pytest.approx(1, abs=0.01)}


def test_a_number_and_rare_labels_leak_too() -> None:
    """A target in another unit; a label of two rows cannot be in each fold, and is left out."""
    draws = np.random.default_rng(0)
    target = draws.uniform(size=2000)
    found = dict(leaks([("euros", target * 1.1), ("noise", draws.normal(size=2000))], target, is_label=False))
    assert list(found) == ["euros"]
    labels = np.array([0] * 50 + [1] * 50 + [2] * 2)
    assert [name for name, _ in leaks([("code", labels.astype(float))], labels, is_label=True)] == ["code"]
    assert list(leaks([("code", labels.astype(float))], np.zeros(102, int), is_label=True)) == []


def test_a_power_law_is_extrapolated() -> None:
    """Error 2 / sqrt(n): of 400 rows 0.1, of 800 0.0707; noise makes the interval wide, and no fall gives no gain."""
    exact = learning_curve(400, lambda count: [2 / np.sqrt(count)] * 3)
    assert exact.counts == (100, 200, 400)
    assert exact.errors == pytest.approx((0.2, 0.1414, 0.1), abs=1e-4)
    assert (exact.gain, exact.least_gain, exact.most_gain) == pytest.approx((0.0293, 0.0293, 0.0293), abs=1e-3)
    draws = np.random.default_rng(0)
    noisy = learning_curve(400, lambda count: list(2 / np.sqrt(count) + draws.normal(size=5) * 0.02))
    assert noisy.least_gain < noisy.gain < noisy.most_gain
    assert learning_curve(400, lambda _: [0.2] * 3).gain == pytest.approx(0)


def test_advice_names_the_rows_and_what_they_seem_to_be() -> None:
    """Two clouds with one wrong label, a pair that contradicts itself, one row far off, and a label of three rows."""
    draws = np.random.default_rng(0)
    features = draws.normal(size=(200, 6)).astype(np.float32)
    targets = np.arange(200) % 2
    features[:, 0] += 8 * targets
    targets[[10, 20, 30]] = 2
    features[[10, 20, 30], 1] += 9
    targets[5] = 0
    features[8] = features[6]
    targets[8] = 1
    features[40, 5] += 300
    shares = np.full((200, 3), 0.02)
    shares[np.arange(200), (features[:, 0] > 4).astype(int)] = 0.96
    shares[[10, 20, 30]] = [0.02, 0.02, 0.96]
    examined = Examined([f"{row}.jpg" for row in range(200)], features, targets, [("code", targets.astype(float))])
    found = list(
        advise_on_labels(examined, ["cat", "dog", "elk"], shares, lambda count: [1 / count] * 3, np.array([20, 20, 1]))
    )
    by_kind = {each.kind: each for each in found}
    assert set(by_kind[AdviceKind.WRONG_LABELS].rows) == {"5.jpg: 'cat', rather 'dog'", "8.jpg: 'dog', rather 'cat'"}
    assert by_kind[AdviceKind.CONTRADICTIONS].rows == ("6.jpg: 'cat' and 8.jpg: 'dog'",)
    assert by_kind[AdviceKind.OUTLIERS].rows[0] == "40.jpg"
    assert "column 'code' alone tells the target" in by_kind[AdviceKind.LEAK].text
    small = [each.text for each in found if each.kind is AdviceKind.SMALL_LABELS]
    assert small == [
        "too few rows to learn from, fewer than 10: 'elk' (3)",
        "too few test rows to measure by, fewer than 5: 'elk' (1)",
    ]
    assert (
        "twice the rows would lower the share of wrong answers, 0.005, by about 0.00"
        in by_kind[AdviceKind.MORE_ROWS].text
    )
