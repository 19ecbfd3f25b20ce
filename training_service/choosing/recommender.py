"""Measures every candidate for a dataset on a sample of its rows, and recommends one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from torch import nn

from model_store.architectures import Chain
from model_store.errors import IllegalState, InvalidInput, NotFound
from model_store.modalities import InputSpec, Rows
from model_store.names import AliasName, ModelName, VersionName
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from training_service.arrays.array_cache import ArrayCache
from training_service.choosing.advising import advice_on
from training_service.choosing.candidates import Candidate, CandidateFinder, LeftOut, seen_positions
from training_service.choosing.costs import Costs, RowCounts, measure_costs, training_seconds
from training_service.choosing.prior import prior_of
from training_service.choosing.probing import Comparison, Score
from training_service.choosing.ranking import Limits, Measured, rank
from training_service.choosing.recommendation import Recommendation
from training_service.choosing.telling import OnProgress, Teller
from training_service.datasets.manifest import DatasetManifest, read_manifest
from training_service.datasets.splits import Split
from training_service.datasets.targets import TARGETS
from training_service.devices import chosen_device
from training_service.features.fitted_stages import fit_stages
from training_service.features.frozen_features import FrozenPrefix, embeddings
from training_service.modalities import MODALITIES, RECIPES
from training_service.modalities.prepared_rows import PreparedDataset
from training_service.phases import Phase
from training_service.preparation import Preparation
from training_service.recipes.choices import ChosenRecipe, recipe_for
from training_service.recipes.modality_fields import varied, with_defaults
from training_service.recipes.recipe import DEFAULTS, Recipe, RecipeName
from training_service.recipes.stages import trained_stages
from training_service.settings import TrainingSettings
from training_service.tasks import TRAINING_TASKS
from training_service.training.heads import Features

_TIMED = (RecipeName.LINEAR_PROBE, RecipeName.LAST_STAGES, RecipeName.FULL)
_SHOWN = 10


@dataclass(frozen=True)
class _Ready:
    """A candidate on the device, with a sample of rows as it takes them; `fitted` has digests of fitted stages."""

    candidate: Candidate
    preparation: Preparation
    chain: Chain
    data: PreparedDataset
    spec: InputSpec
    costs: Costs
    fitted: Mapping[str, str]


class Recommender:
    """Compares bases on one device."""

    def __init__(
        self,
        settings: TrainingSettings,
        store: ModelStore,
        datasets: DatasetStore,
        jobs: JobStore,
        *,
        on_progress: OnProgress,
        check_going_on: Callable[[], None],
    ) -> None:
        """`on_progress` is told the phase, the share of all that is done, and the base; both callbacks may raise."""
        self._settings = settings
        self._store = store
        self._datasets = datasets
        self._jobs = jobs
        self._on_progress = on_progress
        self._check_going_on = check_going_on
        self._device = chosen_device(settings.device)
        self._cache = ArrayCache(settings.cache_folder / "arrays", settings.array_cache_bytes)

    def recommend(
        self,
        dataset_id: str,
        limits: Limits,
        named: Sequence[ModelName | AliasName | VersionName] = (),
        *,
        refusal: Callable[[Candidate], str] = lambda _: "",
    ) -> Recommendation:
        """Measure all candidates within the limits, or the named ones alone, unless `refusal` has a reason against one.

        Raises NotFound and IllegalState for names without a meaning, and InvalidInput for a dataset that has nothing to
        tell apart, for a named base that does not fit, and where no candidate is left, with the reason for each.
        """
        dataset = self._datasets.living(dataset_id)
        manifest = read_manifest(self._store.blobs, dataset.digest)
        targets = TARGETS[manifest.task.kind].array(manifest.task, manifest.rows)
        Comparison.of(manifest.task, targets[seen_positions(manifest)], self._check_going_on)  # before all the work
        finder = CandidateFinder(self._store, self._datasets, dataset, manifest)
        candidates, left_out = finder.named(named) if named else finder.every()
        reasons = [(each, refusal(each)) for each in candidates]
        left_out += [LeftOut(str(each), reason) for each, reason in reasons if reason]
        candidates = [each for each, reason in reasons if not reason]
        counts = _counts(manifest)
        measured: list[Measured] = []
        seen_by: dict[int, tuple[_Ready, Features]] = {}
        num_rows = 0
        for number, candidate in enumerate(candidates):
            tell = Teller(self._on_progress, number, len(candidates), str(candidate))
            ready = self._ready(candidate, dataset, manifest, tell)
            recipes = _recipes(dataset, candidate)
            if broken := limits.broken_by(ready.costs, _training(recipes, ready, ready.costs, counts)):
                left_out.append(LeftOut(str(candidate), broken))
                continue
            comparison = Comparison.of(manifest.task, ready.data.targets[ready.data.seen], self._check_going_on)
            num_rows = comparison.num_rows
            features = self._features(ready, tell)
            seen_by[id(candidate)] = ready, features
            for each in self._scored(ready, features, comparison, recipes, counts, limits, tell):
                if broken := limits.broken_by(each.costs, each.training):
                    left_out.append(LeftOut(str(each), broken))
                else:
                    measured.append(each)
        measured, gone = self._living(dataset, measured)
        left_out += gone
        if not measured:
            raise InvalidInput.of("dataset", _nothing_left(left_out))
        task = TRAINING_TASKS[manifest.task.kind]
        prior = prior_of(self._store, self._jobs, dataset_id, self._check_going_on)
        ranking = rank(measured, task.metrics[task.headline], num_rows, prior)
        best, features = seen_by[id(ranking.ranked[0].candidate)]
        sample, modality = best.preparation.dataset, best.preparation.modality
        advice = advice_on(best.data, features, sample, manifest, modality, best.spec, self._check_going_on)
        return Recommendation(dataset_id, task.headline, num_rows, ranking, left_out, advice)

    def _ready(self, candidate: Candidate, dataset: Dataset, manifest: DatasetManifest, tell: Teller) -> _Ready:
        """Prepare the sample of the rows by the candidate's input spec, and measure what it costs."""
        preparation = Preparation(
            self._store.blobs,
            self._cache,
            self._settings,
            self._device,
            candidate.manifest,
            dataset.digest,
            manifest,
            self._check_going_on,
        ).sample()
        num_rows = len(preparation.dataset.rows)
        data, spec = preparation.fitted(
            preparation.own_spec, lambda num_done: tell(Phase.DECODING, num_done / num_rows)
        )
        chain = candidate.chain(self._store, manifest.task)
        fitted = fit_stages(
            chain,
            data,
            spec,
            data.positions[Split.TRAIN],
            DEFAULTS[RecipeName.LINEAR_PROBE],
            lambda _: None,
            lambda stages: self._run(stages, preparation, data, spec, lambda _: self._check_going_on()),
        )
        costs = measure_costs(chain, spec, data.rows, self._device)
        return _Ready(candidate, preparation, chain, data, spec, costs, fitted)

    def _features(self, ready: _Ready, tell: Teller) -> Features:
        """Return the embeddings of the rows that training may look at, of the cache that training reads too."""
        data, num_done = ready.data, 0

        def on_rows(num_more: int) -> None:
            nonlocal num_done
            self._check_going_on()
            num_done += num_more
            tell(Phase.COMPUTING_FEATURES, num_done / len(data.seen))

        stages = dict(ready.chain.backbone)
        return embeddings(self._run(stages, ready.preparation, data, ready.spec, on_rows, ready.fitted))[data.seen]

    def _run(
        self,
        stages: Mapping[str, nn.Module],
        preparation: Preparation,
        data: PreparedDataset,
        spec: InputSpec,
        on_rows: Callable[[int], None],
        fitted: Mapping[str, str] = MappingProxyType({}),
    ) -> Rows:
        """Return the output of a base's first stages for the rows that training may look at, in their places."""
        cache = replace(preparation.features(spec), fitted=fitted)
        on_device = {name: stage.to(self._device) for name, stage in stages.items()}
        prefix = FrozenPrefix(on_device, preparation.modality, spec, self._device, cache)
        return prefix.run(data.rows, [data.seen], folder=self._settings.folder / "scratch", on_rows=on_rows)

    def _scored(
        self,
        ready: _Ready,
        features: Features,
        comparison: Comparison,
        recipes: Sequence[Recipe],
        counts: RowCounts,
        limits: Limits,
        tell: Teller,
    ) -> Iterator[Measured]:
        """Yield the candidate with its linear head, or, where no stage could train, with each kind of head."""
        tell(Phase.FITTING_HEAD, 0.0)
        if ready.candidate.trainable:
            score = comparison.probe(features)
            training = _training(recipes, ready, ready.costs, counts, score, len(features))
            recipe = _within(recipes, training, limits.training_seconds)
            tell(Phase.FITTING_HEAD, 1.0)
            yield Measured(ready.candidate, score, ready.costs, training, recipe, comparison.diagnostics(features))
            return
        names = comparison.heads(features.shape[1])
        for number, name in enumerate(names, start=1):
            score = comparison.fit(features, name, ready.chain, self._device)
            costs = measure_costs(score.fitted or ready.chain, ready.spec, ready.data.rows, self._device)
            recipe = replace(recipes[0], head=name)
            training = _training([recipe], ready, costs, counts, score, len(features))
            tell(Phase.FITTING_HEAD, number / len(names))
            yield Measured(ready.candidate, score, costs, training, recipe, {})

    def _living(self, dataset: Dataset, measured: Sequence[Measured]) -> tuple[list[Measured], list[LeftOut]]:
        """Part candidates from those that were deleted while they were measured; the dataset must not be, either."""
        self._datasets.living(dataset.id)
        kept, gone = [], []
        for each in measured:
            try:
                if each.candidate.name is not None:
                    self._store.resolve(each.candidate.name)
                kept.append(each)
            except (NotFound, IllegalState):
                gone.append(LeftOut(str(each), "it was deleted while it was measured"))
        return kept, gone


def _counts(manifest: DatasetManifest) -> RowCounts:
    return RowCounts(*(len(manifest.rows.positions(split)) for split in (Split.TRAIN, Split.VALIDATION, Split.TEST)))


def _recipes(dataset: Dataset, candidate: Candidate) -> list[Recipe]:
    """Return the recipes whose time is estimated: that which the service would choose first, then cheaper ones."""
    modality = MODALITIES[dataset.summary["modality"]]
    if not candidate.trainable:
        return [DEFAULTS[RecipeName.FIT_HEAD]]
    task = dataset.summary["task"]
    rows = TARGETS[task].rows_per_output(dataset.summary["targets"])
    first = recipe_for(rows, has_classes=TRAINING_TASKS[task].has_classes)
    others = [DEFAULTS[name] for name in _TIMED if name is not first.name]
    own, free = RECIPES.get(modality.KIND, {}), ChosenRecipe()
    return [
        varied(with_defaults(each, free, own), free, "", modality.AUGMENTATIONS, modality.KIND)
        for each in (first, *others)
    ]


def _training(
    recipes: Sequence[Recipe],
    ready: _Ready,
    costs: Costs,
    counts: RowCounts,
    score: Score | None = None,
    num_rows: int = 1,
) -> dict[RecipeName, float]:
    """Return the seconds of training by recipe; the fit of the head is that of a score, of so many rows."""
    fit_seconds = score.fit_seconds * counts.seen / num_rows if score is not None else 0.0
    return {
        each.name: training_seconds(each, costs, trained_stages(each, ready.candidate.trainable), counts, fit_seconds)
        for each in recipes
    }


def _within(recipes: Sequence[Recipe], training: Mapping[RecipeName, float], limit: float | None) -> Recipe:
    """Return the first recipe that keeps a limit of seconds; the quickest one where the fit of the head breaks it."""
    first = recipes[0]
    if limit is None or training[first.name] <= limit:
        return first
    chosen = next((each for each in recipes if training[each.name] <= limit), None)
    chosen = chosen or min(recipes, key=lambda each: training[each.name])
    return replace(chosen, reason=f"{first.name} would take {training[first.name] / 60:.3g} minutes")


def _nothing_left(left_out: Sequence[LeftOut]) -> str:
    """Say why no candidate is left, of each."""
    if not left_out:
        return "has no base in the store that its examples fit: `maas bases` lists those that `maas import` brings in"
    shown = "; ".join(f"{each.base} ({each.reason})" for each in left_out[:_SHOWN])
    more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    return f"has no base left to recommend: {shown}{more}"
