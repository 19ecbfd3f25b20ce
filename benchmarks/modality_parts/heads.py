"""Heads that scikit-learn fits, through the whole service, beside scikit-learn itself on its own sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from benchmarks.harness.figures import Figure, Options
from maas_client.client import Client
from maas_client.stack.processes import Stack

_SETS = ("iris", "wine", "breast_cancer", "digits")
_QUICK = ("iris",)
_SPLITS = ("train", "train", "validation", "test")
_AT_ONCE = 200
Chosen = Mapping[str, Any]


def _platt(model: Any) -> Any:  # noqa: ANN401  scikit-learn carries no types
    return make_pipeline(StandardScaler(), CalibratedClassifierCV(model, cv=5, ensemble=False))


def _trees(chosen: Chosen) -> Any:  # noqa: ANN401  as above
    return HistGradientBoostingClassifier(
        max_iter=int(chosen["tree_count"]),
        learning_rate=chosen["tree_learning_rate"],
        max_leaf_nodes=int(chosen["leaf_count"]),
        early_stopping=False,
        random_state=0,
    )


_HEADS: Mapping[str, Callable[[Chosen], Any]] = {
    "gaussian_nb": lambda chosen: GaussianNB(var_smoothing=chosen["smoothing"]),
    "logistic_regression": lambda chosen: make_pipeline(
        StandardScaler(), LogisticRegression(C=chosen["strength"], max_iter=500)
    ),
    "linear_svm": lambda chosen: _platt(LinearSVC(C=chosen["strength"], max_iter=10_000, random_state=0, dual="auto")),
    "rbf_svm": lambda chosen: _platt(SVC(C=chosen["strength"], gamma=chosen["gamma"])),
    "gradient_boosting": _trees,
}
"""scikit-learn's own model of each head, with the hyperparameters that the service chose."""


@dataclass(frozen=True)
class _Rows:
    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def splits(self) -> NDArray[np.str_]:
        """Every fourth row is a test row, of rows in a fixed order that mixes the labels."""
        return np.array(_SPLITS)[np.random.default_rng(0).permutation(len(self.labels)) % len(_SPLITS)]

    def write(self, path: Path) -> None:
        """Write a CSV file with a column of splits."""
        names = [*(f"c{number}" for number in range(self.features.shape[1])), "split", "label"]
        lines = [
            ",".join([*map(repr, map(float, row)), split, f"{label:02}"])
            for row, split, label in zip(self.features, self.splits, self.labels, strict=True)
        ]
        path.write_text("\n".join([",".join(names), *lines]) + "\n")


def heads(folder: Path, options: Options) -> Iterator[Figure]:
    """Upload each set with its splits, fit each head, and predict the test rows over gRPC.

    scikit-learn is given the same rows, the same preprocessing and the hyperparameters that the version names.
    """
    with Stack(folder / "home", free_ports=True, environment={"MAAS_INFERENCE_PRECISION": "float32"}) as stack:
        stack.start()
        with Client(stack.await_serving()) as client:
            for name in _QUICK if options.quick else _SETS:
                rows = _rows(name)
                rows.write(folder / f"{name}.csv")
                model = name.replace("_", "-")
                base = client.import_base("rows", f"{model}-rows", widths=[rows.features.shape[1]]).name
                client.upload_dataset(model, folder / f"{name}.csv")
                for head, make in _HEADS.items():
                    yield from _compared(client, name, base, head, make, rows)


def _rows(name: str) -> _Rows:
    features, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    return _Rows(features.astype(np.float32), labels.astype(np.int64))


def _compared(
    client: Client, name: str, base: str, head: str, make: Callable[[Chosen], Any], rows: _Rows
) -> Iterator[Figure]:
    model = f"{name}-{head}".replace("_", "-")
    job = client.wait(client.finetune(model, base=base, dataset=name.replace("_", "-"), head=head).name)
    client.wait_ready(job.version)
    version, is_test = client.version(job.version), rows.splits == "test"
    plain = make(MessageToDict(version.lineage.recipe))
    # Folds of Platt scaling depend on the order: the service puts training rows before validation rows.
    seen = np.concatenate([np.flatnonzero(rows.splits == split) for split in ("train", "validation")])
    plain.fit(rows.features[seen].astype(np.float64), rows.labels[seen])
    expected = plain.predict(rows.features[is_test].astype(np.float64))
    found = _predicted(client, model, rows.features[is_test])
    own, theirs = (float((each == rows.labels[is_test]).mean()) for each in (found, expected))
    yield Figure(f"{name}: {head}, accuracy over gRPC", own, "")
    yield Figure(f"{name}: {head}, accuracy less scikit-learn's, absolute", abs(own - theirs), "", "<= 0")
    yield Figure(f"{name}: {head}, answers that differ from scikit-learn's", float((found != expected).sum()), "rows")


def _predicted(client: Client, model: str, rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the best label of each row."""
    labels = [
        int(each.classification.scores[0].label)
        for start in range(0, len(rows), _AT_ONCE)
        for each in client.predict(model, list(rows[start : start + _AT_ONCE]), top_k=1).predictions
    ]
    return np.array(labels)
