"""Measures the version behind an alias on the rows that a new one was measured on: what the gate compares with."""

from __future__ import annotations

from collections.abc import Callable

from model_store.errors import AliasNotFound, DamagedStore, IllegalState, InvalidInput, InvalidManifest, ModelNotFound
from model_store.names import AliasName
from model_store.store import ModelStore
from training_service.evaluator import Evaluator
from training_service.gate import Incumbent
from training_service.splits import Split


def measured_incumbent(
    store: ModelStore, evaluator: Evaluator, alias: AliasName, dataset_id: str, check_going_on: Callable[[], None]
) -> Incumbent | None:
    """Return the version behind an alias with its metrics on a dataset's test split; None where the alias is new.

    Rows with labels that it lacks count as wrong. `check_going_on` ends this by raising.
    """
    try:
        name = store.get_alias(alias).version
    except (AliasNotFound, ModelNotFound):
        return None
    try:
        evaluated = evaluator.evaluate(
            name,
            dataset_id,
            Split.TEST,
            on_progress=lambda *_: None,
            check_going_on=check_going_on,
            allow_unknown_labels=True,
        )
    except (InvalidInput, IllegalState, DamagedStore, InvalidManifest) as error:
        return Incumbent(name, None, f"{name}, which is there now, cannot be measured on these rows: {error}")
    return Incumbent(name, evaluated.evaluation.metrics)
