"""What a service that serves models reads of the registry, beside what it wants served."""

from __future__ import annotations

from model_store.names import VersionName
from model_store.registry.models import ModelStore
from model_store.registry.serving_view import ServingView
from tests.model_store.making import calibrated, publication


def test_a_version_says_what_it_can_be_calibrated_by(store: ModelStore) -> None:
    """Without the rest of the version, and nothing of one that has none, is deleted or whose model is, or never was."""
    view = ServingView(store._database)
    first, second = (store.publish(calibrated(store, seeds=(1, seed))) for seed in (2, 3))
    plain = store.publish(publication(store, seeds=(4, 5)))
    assert first.calibration is not None
    assert first.calibration != second.calibration
    for version in (first, second, plain):
        assert view.calibration(version.name) == version.calibration
    assert view.calibration(plain.name) is None
    store.delete_version(first.name)
    assert view.calibration(first.name) is None
    assert view.calibration(second.name) == second.calibration
    assert view.calibration(VersionName("unknown", 1)) is None
    store.delete_model("flowers", force=True)
    assert view.calibration(second.name) is None
