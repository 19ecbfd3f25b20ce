"""The heads of multi-label and regression versions beside plain scikit-learn heads on the same features.

    python -m benchmarks.tasks [--quick] [--json FILE] [--only multi_label regression] [--folder DIR]

The service is the real one, asked over gRPC: the demo's photos are uploaded with targets that are worked out of them,
and a linear probe without augmentation is trained, as the plain head has one view of each photo too. The plain head is
fitted on the embeddings of the same base for the same splits: standardised, its strength chosen on validation rows, and
fitted again on training and validation rows together.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from maas.training.v1 import training_pb2 as pb
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, log_loss, mean_squared_error, r2_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.harness.figures import Figure, Options, run_parts
from benchmarks.harness.pictures import stamps
from benchmarks.harness.training import pretrained, training
from maas_client.transfers.publish import publish_base
from model_store.bases.catalogue import LoadedBase
from model_store.calibration import batch_of
from model_store.modalities.spec import prepared

_MAX_PIXELS = 10**8
_AT_ONCE = 32
_CPU = torch.device("cpu")
_LABEL_STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_TARGET_STRENGTHS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
_PROBE = pb.Recipe(linear_probe={"augmentation": pb.AUGMENTATION_NONE})
Features = NDArray[np.float32]
Targets = NDArray[np.float64]
Loss = Callable[[Pipeline, Features, Targets], float]


def multi_label(folder: Path, _: Options) -> Iterator[Figure]:
    """Labels by two attributes: what is shown, of those that are frequent, and whether the photo is red or bright."""

    def targets(path: Path) -> dict[str, float]:
        pixels = _pixels(path)
        return {
            **{f"is {name}": float(path.parent.name == name) for name in sorted(kinds)[:3]},
            "red": float(_red_share(pixels) > 0.35),
            "bright": float(pixels.mean() > 0.5),
        }

    photos = stamps(folder / "photos")
    kinds = {path.name for path in photos.iterdir() if path.is_dir()}
    job, found = _measured(folder, photos, "labels.csv", targets)
    own, plain = job.metrics.values["macro_f1"], _plain_macro_f1(*found)
    yield Figure("multi-label: macro F1 of the service's linear probe", own, "")
    yield Figure("multi-label: macro F1 of scikit-learn's logistic regressions", plain, "")
    yield Figure("multi-label: difference", abs(own - plain), "", "<= 0.01")


def regression(folder: Path, _: Options) -> Iterator[Figure]:
    """The share of a photo's colour that is red, in percent."""
    photos = stamps(folder / "photos")
    job, found = _measured(folder, photos, "targets.csv", lambda path: {"redness": 100 * _red_share(_pixels(path))})
    own, plain = job.metrics.values["r2"], _plain_r2(*found)
    yield Figure("regression: R2 of the service's linear probe", own, "")
    yield Figure("regression: R2 of scikit-learn's ridge regression", plain, "")
    yield Figure("regression: difference", abs(own - plain), "", "<= 0.01")


Splits = Mapping[str, tuple[Features, Targets]]


def _measured(
    folder: Path, photos: Path, table: str, targets: Callable[[Path], Mapping[str, float]]
) -> tuple[pb.TrainingJob, tuple[Splits]]:
    """Train a probe by the service; return its job, and the features and targets of the same splits."""
    paths = {path.relative_to(photos).as_posix(): path for path in sorted(photos.rglob("*.png"))}
    values = {name: targets(path) for name, path in paths.items()}
    names = list(next(iter(values.values())))
    with (photos / table).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *names])
        writer.writerows(
            [name, *(each[key] if table == "targets.csv" else int(each[key]) for key in names)]
            for name, each in values.items()
        )
    base = pretrained()
    with training(folder / "home") as service:
        publish_base(service.client, "base", base)
        service.client.upload_dataset("photos", photos)
        rows = {
            split: [row.path for row in service.client.dataset_rows("photos", split)]
            for split in ("train", "validation", "test")
        }
        job = service.job("photos", _PROBE).check().job
    splits = {
        split: (
            _features(base, [paths[name] for name in found]),
            np.array([[values[name][key] for key in names] for name in found]),
        )
        for split, found in rows.items()
    }
    return job, (splits,)


def _plain_macro_f1(splits: Splits) -> float:
    def fit(strength: float) -> Any:  # noqa: ANN401  a classifier of scikit-learn
        return OneVsRestClassifier(LogisticRegression(C=strength, max_iter=500))

    def loss(model: Pipeline, features: Features, truth: Targets) -> float:
        return float(log_loss(truth.ravel(), model.predict_proba(features).ravel()))

    model = _fitted(splits, fit, loss, _LABEL_STRENGTHS)
    features, truth = splits["test"]
    return float(f1_score(truth, model.predict(features), average="macro", zero_division=0))


def _plain_r2(splits: Splits) -> float:
    def loss(model: Pipeline, features: Features, truth: Targets) -> float:
        return float(mean_squared_error(truth, model.predict(features)))

    model = _fitted(splits, lambda strength: Ridge(alpha=1 / strength), loss, _TARGET_STRENGTHS)
    features, truth = splits["test"]
    return float(r2_score(truth, model.predict(features)))


def _fitted(splits: Splits, make: Callable[[float], Any], loss: Loss, strengths: Sequence[float]) -> Pipeline:
    """Return the model whose strength does best on validation rows, fitted on all but the test rows."""
    train, validation = splits["train"], splits["validation"]
    losses = {
        strength: loss(make_pipeline(StandardScaler(), make(strength)).fit(*train), *validation)
        for strength in strengths
    }
    best = min(losses, key=lambda strength: losses[strength])
    features, truth = np.concatenate([train[0], validation[0]]), np.concatenate([train[1], validation[1]])
    return make_pipeline(StandardScaler(), make(best)).fit(features, truth)


def _features(base: LoadedBase, paths: Sequence[Path]) -> Features:
    """Return the embeddings of photos, as the service prepares them."""
    parts = []
    for start in range(0, len(paths), _AT_ONCE):
        rows = prepared(base.input_spec, [path.read_bytes() for path in paths[start : start + _AT_ONCE]], _MAX_PIXELS)
        with torch.inference_mode():
            parts.append(base.chain.eval().embed(base.input_spec.to_input(batch_of(rows, _CPU))).numpy())
    return np.concatenate(parts)


def _pixels(path: Path) -> NDArray[np.float64]:
    """Return the pixels of a photo, 0 to 1."""
    return np.asarray(Image.open(path).convert("RGB"), np.float64) / 255


def _red_share(pixels: NDArray[np.float64]) -> float:
    """Return the share of the photo's light that is red."""
    return float(pixels[..., 0].sum() / max(pixels.sum(), 1e-9))


if __name__ == "__main__":
    run_parts("tasks", __doc__ or "", {"multi_label": multi_label, "regression": regression})
