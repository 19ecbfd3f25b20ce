"""What the temperature does to the log loss and the calibration of test rows, over several splits of the photos."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.figures import Figure, Options
from benchmarks.harness.pictures import stamps
from benchmarks.harness.training import pretrained
from model_store.architectures import Chain, Head, build, initialise_head
from model_store.bases.catalogue import LoadedBase
from model_store.manifests import Manifest
from model_store.modalities import Rows
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import PIXELS, ImageInputSpec, Pixels, to_pixels
from model_store.tasks import Classification
from training_service.arrays.array_cache import ArrayCache
from training_service.datasets.splits import Split, SplitSpec, assign_splits
from training_service.features.feature_cache import FeatureCache
from training_service.modalities import MODALITIES
from training_service.modalities.prepared_rows import PreparedDataset
from training_service.recipes.recipe import DEFAULTS, RecipeName
from training_service.recipes.stages import trained_stages
from training_service.tasks import temperature
from training_service.tasks.classification.metrics import Labels, Logits, confidence, cross_entropy, softmax
from training_service.tasks.classification.training import LIKELIHOOD
from training_service.tasks.training_task import Answers
from training_service.training.fine_tuning import fine_tune, phase_weights
from training_service.training.progress import ProgressMeter
from training_service.training.training_context import TrainingContext

_CPU = torch.device("cpu")
_FEW = 0.35  # of the photos: 12 validation rows instead of 36


@dataclass(frozen=True)
class Photos:
    """Decoded photos [n, size, size, 3] with labels [n] and digests."""

    pixels: Pixels
    labels: Labels
    digests: Sequence[str]
    names: tuple[str, ...]

    def some(self, share: float, seed: int) -> Photos:
        """Return a share of the photos of each label, at least six."""
        random = np.random.default_rng(seed)
        rows = [np.flatnonzero(self.labels == label) for label in range(len(self.names))]
        chosen = np.sort(np.concatenate([random.permutation(each)[: max(6, int(share * len(each)))] for each in rows]))
        return Photos(self.pixels[chosen], self.labels[chosen], [self.digests[row] for row in chosen], self.names)

    def assigned(self, seed: int) -> PreparedDataset:
        """Assign them to splits as an upload is assigned."""
        splits = np.empty(len(self.labels), object)
        for label in range(len(self.names)):
            rows = np.flatnonzero(self.labels == label)
            splits[rows] = [
                str(each) for each in assign_splits([self.digests[row] for row in rows.tolist()], SplitSpec(seed=seed))
            ]
        positions = {split: np.flatnonzero(splits == split) for split in Split}
        return PreparedDataset(Rows({PIXELS: self.pixels}, len(self.labels)), self.labels, positions)


@dataclass(frozen=True)
class Run:
    """Logits [n, labels] and labels [n] of the validation rows, and of the test rows."""

    validation: tuple[Logits, Labels]
    test: tuple[Logits, Labels]

    def test_loss(self, fit: Callable[[Logits, Labels], float]) -> float:
        """Return the log loss of the test rows with the temperature that this fits on the validation rows."""
        return cross_entropy(self.test[0] / fit(*self.validation), self.test[1])

    def test_error(self, fit: Callable[[Logits, Labels], float]) -> float:
        """Return their expected calibration error."""
        return confidence(softmax(self.test[0] / fit(*self.validation)), self.test[1]).error


@dataclass(frozen=True)
class _Recording(TrainingContext):
    """A context that keeps the logits that a job's metrics are made of."""

    runs: list[Run] = field(default_factory=list)

    def answers(self, outputs: Logits, validation_outputs: Logits) -> Answers:
        validation = validation_outputs, self.targets_at(self.validation)
        self.runs.append(Run(validation, (outputs, self.targets_at(self.test))))
        return super().answers(outputs, validation_outputs)


def calibration(folder: Path, options: Options) -> Iterator[Figure]:
    """The temperature of a job, and the best one of the same validation rows, against none at all."""
    base, photos = pretrained(), _photos(stamps(folder / "photos"))
    cache = ArrayCache(folder / "arrays", 2**34)
    recipes = (RecipeName.LINEAR_PROBE,) if options.quick else (RecipeName.LINEAR_PROBE, RecipeName.LAST_STAGES)
    for recipe in recipes:
        for share in (1.0,) if options.quick else (1.0, _FEW):
            runs = [
                _run(base, photos.some(share, seed), recipe, seed, folder, cache)
                for seed in range(2 if options.quick else 10)
            ]
            yield from _figures(f"{recipe}, {len(runs[0].validation[1])} validation rows", runs)


def _figures(name: str, runs: Sequence[Run]) -> Iterator[Figure]:
    plain = [run.test_loss(_none) for run in runs]
    for told, fit, bar in (("best temperature", best_temperature, ""), ("temperature", fit_temperature, "<= 10")):
        worse = [run.test_loss(fit) > loss for run, loss in zip(runs, plain, strict=True)]
        yield Figure(
            f"{name}: runs where the {told} made the test log loss worse", 100 * statistics.mean(worse), "%", bar
        )
    for told, fit, bar in (("best temperature", best_temperature, ""), ("temperature", fit_temperature, "<= 1.001")):
        ratio = statistics.mean(run.test_loss(fit) for run in runs) / statistics.mean(plain)
        yield Figure(f"{name}: test log loss, {told} / none", ratio, "x", bar)
    for told, fit in (("no", _none), ("the best", best_temperature), ("the", fit_temperature)):
        error = statistics.mean(run.test_error(fit) for run in runs)
        yield Figure(f"{name}: test calibration error with {told} temperature", error, "")


def best_temperature(logits: Logits, labels: Labels) -> float:
    """Return the best temperature of exactly these rows."""
    return temperature.best_temperature(LIKELIHOOD, logits, labels)


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature that a job takes."""
    return temperature.fit_temperature(LIKELIHOOD, logits, labels)


def _none(logits: Logits, labels: Labels) -> float:  # noqa: ARG001  as the others are called
    return 1.0


def _run(base: LoadedBase, photos: Photos, name: RecipeName, seed: int, folder: Path, cache: ArrayCache) -> Run:
    """Fine-tune as a job does, and return what its metrics were made of."""
    digest = hashlib.sha256("".join(photos.digests).encode()).hexdigest()
    recipe, spec = DEFAULTS[name], base.input_spec
    if not isinstance(spec, ImageInputSpec):
        raise TypeError("the base takes no images")
    embedding_size = base.chain.embedding_size
    head = base.head.to_json()
    manifest = Manifest(base.architecture, base.arguments, (), spec.to_json(), None, head, embedding_size)
    bench = _Recording(
        data=photos.assigned(seed),
        modality=MODALITIES["image"],
        task=Classification(photos.names),
        spec=spec,
        seed=seed,
        device=_CPU,
        folder=folder,
        meter=ProgressMeter(phase_weights(recipe), lambda _: None),
        check_going_on=lambda: None,
        tell=lambda _: None,
        features=FeatureCache(cache, digest, manifest, spec, _CPU),
    )
    chain = _chain(base, len(photos.names), seed)
    trainable = [stage for stage, module in chain.backbone if any(True for _ in module.parameters())]
    fine_tune(chain, recipe, trained_stages(recipe, trainable), bench)
    return bench.runs[0]


def _chain(base: LoadedBase, num_labels: int, seed: int) -> Chain:
    chain = build(base.architecture, base.arguments, Head("linear", num_labels))
    for name, _ in chain.backbone:
        chain.load_stage(name, base.chain.stage_tensors(name))
    initialise_head(chain, seed)
    return chain


def _photos(folder: Path) -> Photos:
    paths = sorted(folder.rglob("*.png"))
    names = tuple(sorted({path.parent.name for path in paths}))
    spec = pretrained().input_spec
    if not isinstance(spec, ImageInputSpec):
        raise TypeError("the base takes no images")
    data = [path.read_bytes() for path in paths]
    pixels = np.stack([to_pixels(decode_image(each, max_pixels=10**8), spec) for each in data])
    labels = np.array([names.index(path.parent.name) for path in paths])
    return Photos(pixels, labels, [hashlib.sha256(each).hexdigest() for each in data], names)
