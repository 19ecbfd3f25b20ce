"""The gate: how often it promotes a worse recipe, and refuses a better one, when the splits are drawn again.

Heads are fitted on frozen features that are computed once. Which of two recipes is truly better is known from 20 times
5 folds. The gate judges each pair, either way round: on all rows, left out in two draws of five folds, as it compares
on small data; and on the test rows of splits like the service's, as it did before. Beside its two requirements stands
what it promoted before: what is not worse beyond noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.pictures import stamps
from benchmarks.harness.training import pretrained
from model_store.architectures import run_stage
from model_store.modalities.spec import prepared
from model_store.names import VersionName
from model_store.records.metrics import Metrics
from model_store.records.promotion import PromotionSpec, Requirement
from model_store.tasks import Classification
from training_service.datasets.splits import SplitSpec
from training_service.evaluation.difference import Difference, difference
from training_service.modalities.prepared_rows import batch_at
from training_service.promotion.gate import Incumbent, judge
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Answers
from training_service.training.cross_validation.folds import PLANS

_TASK = TRAINING_TASKS["classification"]
_NUM_DIGITS = 300
_REPEATS = 20
_PLAN = PLANS[0]
_LEFT_OUT, _TEST = "all rows left out in turn", "test rows"
_REDRAWS = 6
_WORSE, _BETTER = 0.01, 0.03
_AT_ONCE = 32
_MAX_PIXELS = 10**8
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class _Subject:
    features: NDArray[np.float64]
    labels: Labels


def gate(folder: Path, options: Options) -> Iterator[Figure]:
    """Judge ten pairs of five recipes on each of four sets of data, and count wrong verdicts by rule."""
    subjects = {"wine": _of(load_wine()), "breast cancer": _of(load_breast_cancer())}
    if not options.quick:
        subjects["digits"] = _some(_of(load_digits()), _NUM_DIGITS)
        subjects["stamps"] = _stamps(folder)
    repeats, redraws = (2, 2) if options.quick else (_REPEATS, _REDRAWS)
    wrong: dict[str, list[tuple[float, bool]]] = {}
    for subject in subjects.values():
        truth = _true_accuracies(subject, repeats)
        for seed in range(redraws):
            for rows, answers in ((_LEFT_OUT, _left_out(subject, seed)), (_TEST, _answers(subject, seed))):
                for own, other in permutations(range(len(answers)), 2):
                    found = difference(_TASK, answers[own], answers[other])
                    for rule, passes in _verdicts(found).items():
                        wrong.setdefault(f"{rule}, on {rows}", []).append((truth[own] - truth[other], passes))
    for rule, verdicts in wrong.items():
        yield from _figures(rule, verdicts)


def _figures(rule: str, verdicts: Sequence[tuple[float, bool]]) -> Iterator[Figure]:
    """Yield the shares of wrong verdicts: of those on recipes that are truly worse, or better."""
    gains = np.array([gain for gain, _ in verdicts])
    passes = np.array([passed for _, passed in verdicts])
    has_bar = rule == f"{Requirement.NOT_WORSE}, on {_LEFT_OUT}"
    for name, chosen, is_wrong, bar in (
        (f"promoted though worse by over {100 * _WORSE:g} point", gains < -_WORSE, passes, "<= 5"),
        (f"refused though better by over {100 * _BETTER:g} points", gains > _BETTER, ~passes, "<= 20"),
        ("promoted of those within 1 point", np.abs(gains) <= _WORSE, passes, ""),
    ):
        yield Figure(f"{rule}: {name}", 100 * float(is_wrong[chosen].mean()), "%", bar if has_bar else "")


def _verdicts(found: Difference) -> Mapping[str, bool]:
    metrics = Metrics("test", found.num_rows, {"accuracy": found.figure})
    there = Incumbent(VersionName("incumbent", 1), found)
    judged = {
        str(require): judge(PromotionSpec("production", "accuracy", require=require), _TASK, metrics, there).passes
        for require in Requirement
    }
    return {**judged, "not worse beyond noise": not found.is_worse}


def _answers(subject: _Subject, seed: int) -> Sequence[Answers]:
    """Return the answers of each recipe for the test rows of a split."""
    shuffled = StratifiedShuffleSplit(1, test_size=SplitSpec().test_fraction, random_state=seed)
    ((train, test),) = shuffled.split(subject.features, subject.labels)
    task = Classification(tuple(map(str, range(int(subject.labels.max()) + 1))))
    hot = np.eye(len(task.names), dtype=np.float32)
    return [
        Answers(hot[_predicted(recipe, subject, train, test)], subject.labels[test], task)
        for recipe in _recipes().values()
    ]


def _left_out(subject: _Subject, seed: int) -> Sequence[Sequence[Answers]]:
    """Return the answers of each recipe for all rows in each draw of folds, each by a fit without the row's fold."""
    task = Classification(tuple(map(str, range(int(subject.labels.max()) + 1))))
    hot = np.eye(len(task.names), dtype=np.float32)
    return [
        [
            Answers(
                hot[_predicted_left_out(recipe, subject, 10_000 + _PLAN.num_repeats * seed + draw)],
                subject.labels,
                task,
            )
            for draw in range(_PLAN.num_repeats)
        ]
        for recipe in _recipes().values()
    ]


def _predicted_left_out(recipe: Any, subject: _Subject, seed: int) -> Labels:  # noqa: ANN401  as below
    predicted = np.zeros_like(subject.labels)
    folds = StratifiedKFold(_PLAN.num_folds, shuffle=True, random_state=seed)
    for train, test in folds.split(subject.features, subject.labels):
        predicted[test] = _predicted(recipe, subject, train, test)
    return predicted


def _true_accuracies(subject: _Subject, repeats: int) -> Sequence[float]:
    """Return the accuracy of each recipe, the mean over folds drawn so many times."""
    accuracies = []
    for recipe in _recipes().values():
        right = [_predicted_left_out(recipe, subject, seed) == subject.labels for seed in range(repeats)]
        accuracies.append(float(np.mean(right)))
    return accuracies


def _predicted(recipe: Any, subject: _Subject, train: Labels, test: Labels) -> Labels:  # noqa: ANN401  scikit-learn carries no types
    predicted: Labels = recipe.fit(subject.features[train], subject.labels[train]).predict(subject.features[test])
    return predicted


def _recipes() -> Mapping[str, Any]:
    """Return recipes that are a little or much better or worse than one another."""
    return {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300)),
        "weak logistic": make_pipeline(StandardScaler(), LogisticRegression(C=1e-4, max_iter=300)),
        "narrow logistic": make_pipeline(StandardScaler(), PCA(6, random_state=0), LogisticRegression(max_iter=300)),
        "naive Bayes": make_pipeline(StandardScaler(), GaussianNB(var_smoothing=0.1)),
        "neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(5)),
    }


def _of(bunch: Any) -> _Subject:  # noqa: ANN401  as above
    return _Subject(bunch.data.astype(np.float64), bunch.target.astype(np.int64))


def _some(subject: _Subject, count: int) -> _Subject:
    chosen = np.random.default_rng(0).permutation(len(subject.labels))[:count]
    return _Subject(subject.features[chosen], subject.labels[chosen])


def _stamps(folder: Path) -> _Subject:
    """Return the embeddings that MobileNetV2 gives for the demo's photos."""
    paths, base = sorted(stamps(folder / "stamps").rglob("*.png")), pretrained()
    _, labels = np.unique([path.parent.name for path in paths], return_inverse=True)
    parts = []
    for start in range(0, len(paths), _AT_ONCE):
        rows = prepared(base.input_spec, [path.read_bytes() for path in paths[start : start + _AT_ONCE]], _MAX_PIXELS)
        batch = base.input_spec.to_input(batch_at(rows, np.arange(len(rows))))
        with torch.inference_mode():
            for _, stage in base.chain.backbone:
                batch = run_stage(stage, batch)
        parts.append(batch.x.numpy().astype(np.float64))
    return _Subject(np.concatenate(parts), labels.astype(np.int64))
