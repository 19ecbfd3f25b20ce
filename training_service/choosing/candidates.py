"""The bases that a dataset's examples fit: versions of the store, each backbone once, and the base of the modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from model_store.architectures import HEAD, Chain, build, initialise_head
from model_store.database.paging import PageRequest
from model_store.errors import IllegalState, InvalidInput, NotFound
from model_store.manifests import Manifest, canonical_json
from model_store.modalities import read_input_spec
from model_store.names import AliasName, ModelName, VersionName
from model_store.records.resources import Dataset, ModelVersion
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.tasks import Task
from model_store.transactions.listings import ListRequest
from training_service.arrays.records import Positions
from training_service.datasets.manifest import DatasetManifest
from training_service.datasets.splits import Split
from training_service.evaluation.learned_rows import learned_rows
from training_service.modalities import MODALITIES
from training_service.modalities.fitting import check_fits
from training_service.recipes.recipe import RecipeName
from training_service.training.training_context import linear_head
from training_service.training.version_io import read_backbone, trainable_stages

_PAGE = 500
FIELD = "bases"


@dataclass(frozen=True)
class Candidate:
    """A base to compare: a version of the store, or, without a name, the base that the modality makes.

    `trainable` are its backbone's stages that have parameters. `made` is the chain of a base that is not in the store.
    """

    name: VersionName | None
    manifest: Manifest
    trainable: tuple[str, ...]
    made: Chain | None = None

    def chain(self, store: ModelStore, task: Task) -> Chain:
        """Return its backbone with a fresh linear head for a task, in eval mode; raise what reading a version does."""
        if self.made is None:
            return read_backbone(store.blobs, self.manifest, task, 0).eval()
        chain = build(self.manifest.architecture, self.manifest.arguments, linear_head(task))
        for name, _ in chain.backbone:
            chain.load_stage(name, self.made.stage_tensors(name))
        initialise_head(chain, 0)
        return chain.eval()

    def __str__(self) -> str:
        """Return its name as messages have it."""
        return str(self.name) if self.name is not None else self.manifest.architecture


@dataclass(frozen=True)
class LeftOut:
    """A base that is not compared, and why, in a sentence."""

    base: str
    reason: str


class CandidateFinder:
    """Finds the candidates for one dataset."""

    def __init__(self, store: ModelStore, datasets: DatasetStore, dataset: Dataset, manifest: DatasetManifest) -> None:
        self._store = store
        self._datasets = datasets
        self._dataset = dataset
        self._manifest = manifest
        self._found: dict[str, Candidate] = {}
        self._left_out: dict[str, LeftOut] = {}

    def every(self) -> tuple[list[Candidate], list[LeftOut]]:
        """Return the version that each model's name stands for, as far as its examples fit, and the modality's base.

        Versions that share a backbone are one candidate, named by the version that the backbone came with.
        """
        for name in self._versions():
            record = self._store.get_version(name)
            if record.modality == self._manifest.modality:
                self._take(record)
        self._take_own()
        return list(self._found.values()), list(self._left_out.values())

    def named(self, targets: Sequence[ModelName | AliasName | VersionName]) -> tuple[list[Candidate], list[LeftOut]]:
        """Return these alone; raise InvalidInput where one does not fit, and what resolving a name raises."""
        for target in targets:
            record = self._store.get_version(self._store.resolve(target))
            spec = read_input_spec(self._store.manifest(record).input_spec)
            check_fits(spec, str(record.name), self._dataset, FIELD)
            self._take(record)
        return list(self._found.values()), list(self._left_out.values())

    def _versions(self) -> Iterator[VersionName]:
        token = ""
        while True:
            page = self._store.list_models(ListRequest(PageRequest(_PAGE, token)))
            for model in page.items:
                try:
                    yield self._store.resolve(ModelName(model.id))
                except (NotFound, IllegalState):  # it has no version, or none any more
                    continue
            if not (token := page.next_token):
                return

    def _take(self, record: ModelVersion) -> None:
        record = self._origin(record)
        manifest, name = self._store.manifest(record), str(record.name)
        key = backbone_key(manifest)
        if key in self._found or name in self._left_out:
            return
        trainable = trainable_stages(manifest)
        if not trainable and record.lineage.dataset_id is not None:
            return  # it is a head on the same numbers: another dataset's heads are of no use here
        if reason := self._reason_against(record, manifest):
            self._left_out[name] = LeftOut(name, reason)
            return
        self._found[key] = Candidate(record.name, manifest, trainable)

    def _reason_against(self, record: ModelVersion, manifest: Manifest) -> str:
        """Return why a version cannot be compared; empty where it can."""
        try:
            check_fits(read_input_spec(manifest.input_spec), str(record.name), self._dataset, FIELD)
        except InvalidInput as error:
            return error.violations[0].description
        seen = seen_positions(self._manifest)
        learned = learned_rows(self._store, self._datasets, record.lineage).among(self._manifest, seen)
        if num_learned := int(learned.sum()):
            return (
                f"it or a base of it learned from {num_learned} of the {len(seen)} rows to compare on: its score would "
                "flatter it"
            )
        return ""

    def _origin(self, record: ModelVersion) -> ModelVersion:
        """Return the living version that the backbone of this one came with: the first in its chain of bases."""
        found, manifest = record, self._store.manifest(record)
        while record.lineage.base is not None:
            try:
                record = self._store.get_version(record.lineage.base)
            except NotFound:  # purged
                break
            base = self._store.manifest(record)
            if _backbone(base) != _backbone(manifest):
                break
            if not record.timestamps.is_deleted:
                found = record
        return found

    def _take_own(self) -> None:
        modality = MODALITIES[self._manifest.modality]
        if RecipeName.FIT_HEAD not in modality.OWN_BASE_RECIPES:
            return
        made = modality.own_base(self._dataset.summary["about"], trains_stages=False)
        if made is None:
            return
        manifest = made.manifest([])
        without_weights = (each.manifest for each in self._found.values() if not each.trainable)
        if _rows_key(manifest) not in map(_rows_key, without_weights):
            self._found[backbone_key(manifest)] = Candidate(None, manifest, (), made.chain)


def seen_positions(manifest: DatasetManifest) -> Positions:
    """Return the positions of the rows that training may look at, in order."""
    return np.setdiff1d(np.arange(len(manifest.rows)), manifest.rows.positions(Split.TEST))


def _backbone(manifest: Manifest) -> tuple[str, list[str]]:
    """Return what makes the backbone what it is, but for its input."""
    stages = [stage.digest for stage in manifest.stages if stage.name != HEAD]
    return canonical_json({"name": manifest.architecture, "arguments": dict(manifest.arguments)}).decode(), stages


def backbone_key(manifest: Manifest) -> str:
    """Return what makes a backbone what it is, its input among it: versions of one key are one candidate."""
    architecture, stages = _backbone(manifest)
    return canonical_json({"architecture": architecture, "stages": stages, "spec": dict(manifest.input_spec)}).decode()


def _rows_key(manifest: Manifest) -> tuple[str, bytes]:
    """Return what makes a base without weights what it is."""
    return _backbone(manifest)[0], canonical_json(dict(manifest.input_spec))
