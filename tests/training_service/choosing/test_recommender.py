"""Which versions of a real store are compared, and what is said of those that are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_store.architectures import HEAD, Head, build_random
from model_store.errors import IllegalState, InvalidInput, ModelNotFound
from model_store.manifests import ManifestStage
from model_store.names import ModelName, VersionName
from model_store.records.resources import Lineage, ModelVersion
from model_store.registry.jobs import JobStore
from model_store.tasks import Classification
from model_store.tensors.stages import write_stage
from model_store.transactions.publication import Publication
from tests.training_service.making import photos, publish_base, publish_mlp, tar_of
from tests.training_service.running import RunningService, running_service, settings_of
from training_service.advice.advice import AdviceKind
from training_service.choosing.ranking import Limits
from training_service.choosing.recommendation import Recommendation
from training_service.choosing.recommender import Recommender
from training_service.phases import Phase

NUMBERS = (
    "a,b,c,kind\n" + "".join(f"{n % 7},{n % 3},{n * n % 11},{'even' if n % 2 else 'odd'}\n" for n in range(60))
).encode()


pytestmark = pytest.mark.slow  # each comparison computes features and fits heads


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the service."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """Two bases of images, a probe of one of them, a base of numbers; photos of three labels and of one, and rows."""
    with running_service(home, num_concurrent_jobs=0) as running:
        first = publish_base(running.store, "first")
        publish_base(running.store, "second", seed=1)
        publish_mlp(running.store, "numbers", (3, 8))
        publish_mlp(running.store, "wide", (4, 8))
        running.upload(tar_of(photos(12, ("blue", "green", "red"))))
        fine_tuned(running, "probe", first, "photos", moves=False)
        running.upload(NUMBERS, "rows")
        yield running


def fine_tuned(running: RunningService, model_id: str, base: ModelVersion, dataset_id: str, *, moves: bool) -> None:
    """Publish a version with labels made from a base on a dataset; it has the base's backbone, or one that moved."""
    manifest, head = running.store.manifest(base), Head("linear", 2)
    chain = build_random(manifest.architecture, manifest.arguments, head, seed=9)
    changed = {
        name: write_stage(running.store.blobs, chain.stage_tensors(name)).digest
        for name in (chain.stage_names if moves else [HEAD])
    }
    kept = {stage.name: stage.digest for stage in manifest.stages}
    stages = tuple(ManifestStage(name, changed.get(name) or kept[name]) for name in chain.stage_names)
    made = replace(manifest, stages=stages, task=Classification(("blue", "red")), head=head.to_json())
    running.store.publish(Publication(model_id, made, lineage=Lineage(base.name, dataset_id)))


def recommend(
    running: RunningService, home: Path, dataset_id: str, limits: Limits | None = None, *named: str
) -> Recommendation:
    """Recommend in this process."""
    recommender = Recommender(
        settings_of(home),
        running.store,
        running.datasets,
        JobStore(running.store._database),
        on_progress=lambda *_: None,
        check_going_on=lambda: None,
    )
    return recommender.recommend(dataset_id, limits or Limits(), [ModelName(each) for each in named])


def test_a_wrong_label_and_a_column_that_tells_the_target_are_named(service: RunningService, home: Path) -> None:
    """Whatever is recommended, the dataset itself is looked at."""
    draws = np.random.default_rng(0)
    lines = []
    for number in range(120):
        kind, cells = number % 2, draws.normal(size=3)
        cells[0] += 6 * kind - 4 * (number == 40)
        label = "odd" if kind != (number == 40) else "even"
        lines.append(f"{cells[0]:.3f},{cells[1]:.3f},{cells[2]:.3f},{1 if label == 'odd' else 0},train,{label}")
    lines += [f"{6 * (number % 2)},0,0,{number % 2},test,{'odd' if number % 2 else 'even'}" for number in range(8)]
    service.upload(("a,b,c,outcome,split,kind\n" + "\n".join(lines)).encode(), "suspicious")
    advice = {each.kind: each for each in recommend(service, home, "suspicious").advice}
    assert "column 'outcome' alone tells the target" in advice[AdviceKind.LEAK].text
    assert "'odd' (4)" in advice[AdviceKind.SMALL_LABELS].text
    assert "twice the rows" in advice[AdviceKind.MORE_ROWS].text
    honest = "\n".join(",".join(line.split(",")[:3] + line.split(",")[4:]) for line in lines)
    service.upload(f"a,b,c,split,kind\n{honest}".encode(), "mistaken")
    advice = {each.kind: each for each in recommend(service, home, "mistaken").advice}
    assert advice[AdviceKind.WRONG_LABELS].rows == ("row 41: 'odd', rather 'even'",)
    assert AdviceKind.LEAK not in advice


def test_each_backbone_is_compared_once(service: RunningService, home: Path) -> None:
    """A version that trained a head alone stands for its base; a base of numbers takes no photos."""
    told: list[tuple[Phase, float, str]] = []
    recommender = Recommender(
        settings_of(home),
        service.store,
        service.datasets,
        JobStore(service.store._database),
        on_progress=lambda *each: told.append(each),
        check_going_on=lambda: None,
    )
    found = recommender.recommend("photos", Limits())
    assert {str(each) for each in found.ranking.ranked} == {"models/first/versions/1", "models/second/versions/1"}
    assert not found.left_out
    assert (found.metric, found.num_rows) == ("accuracy", 27)
    for each in found.ranking.ranked:
        low, high = each.score.interval
        assert low <= each.score.metric <= high
        assert min(each.costs.batch_seconds, each.costs.row_seconds) > 0
        assert each.costs.size_bytes > 1_000_000
        assert set(each.diagnostics) == {"h_score", "log_me", "neighbours"}
        assert list(each.training) == ["linear_probe", "last_stages", "full"]
        assert each.recipe.name == "linear_probe"
    shares = [share for _, share, _ in told]
    assert shares == sorted(shares)
    assert {phase for phase, _, _ in told} == {Phase.DECODING, Phase.COMPUTING_FEATURES, Phase.FITTING_HEAD}


def test_a_version_that_learned_from_the_rows_is_left_out(service: RunningService, home: Path) -> None:
    """Its moved backbone knows them: the reason says how many."""
    first = service.store.get_version(VersionName("first", 1))
    fine_tuned(service, "moved", first, "photos", moves=True)
    found = recommend(service, home, "photos", None, "first", "moved")
    (left_out,) = found.left_out
    assert left_out.base == "models/moved/versions/1"
    assert "learned from 27 of the 27 rows" in left_out.reason
    service.store.delete_model("moved", force=True)


def test_rows_of_numbers_are_compared_with_heads_of_their_own(service: RunningService, home: Path) -> None:
    """Beside the bases whose rows have as many numbers; the others are told."""
    found = recommend(service, home, "rows")
    names = {str(each) for each in found.ranking.ranked}
    assert "models/numbers/versions/1" in names
    assert {"rows with gradient_boosting", "rows with logistic_regression"} <= names
    (left_out,) = found.left_out
    assert left_out.base == "models/wide/versions/1"
    assert "takes rows of 4 numbers" in left_out.reason
    of_rows = next(each for each in found.ranking.ranked if str(each) == "rows with gradient_boosting")
    assert (of_rows.recipe.name, of_rows.recipe.head) == ("fit_head", "gradient_boosting")
    assert of_rows.costs.size_bytes > 0


def test_limits_that_rule_out_all_say_which_rules_out_which(service: RunningService, home: Path) -> None:
    """Each candidate with its figure."""
    with pytest.raises(InvalidInput) as caught:
        recommend(service, home, "photos", Limits(size_bytes=1024, latency_seconds=1e-9))
    text = str(caught.value)
    for name in ("models/first/versions/1", "models/second/versions/1"):
        assert f"{name} (latency: " in text
    assert "limit 1e-06 ms, size: " in text


def test_a_limit_of_time_changes_the_recipe(service: RunningService, home: Path) -> None:
    """Nothing is quicker than a linear probe."""
    found = recommend(service, home, "photos", Limits(training_seconds=3600), "first")
    assert [str(each) for each in found.ranking.ranked] == ["models/first/versions/1"]
    assert found.ranking.chosen.recipe.name == "linear_probe"


def test_a_named_base_must_fit_and_live(service: RunningService, home: Path) -> None:
    """A deleted one is an error that says so, as is one of other examples, or none at all."""
    publish_base(service.store, "gone", seed=3)
    service.store.delete_model("gone", force=True)
    with pytest.raises(IllegalState, match="models/gone was deleted"):
        recommend(service, home, "photos", None, "gone")
    with pytest.raises(InvalidInput, match="takes examples of the modality values"):
        recommend(service, home, "photos", None, "numbers")
    with pytest.raises(ModelNotFound):
        recommend(service, home, "photos", None, "missing")


def test_a_base_that_is_deleted_meanwhile_is_left_out(service: RunningService, home: Path) -> None:
    """Nothing is recommended that a job could not begin from."""
    publish_base(service.store, "fleeting", seed=4)

    def delete(phase: Phase, _share: float, base: str) -> None:
        if base == "models/fleeting/versions/1" and phase is Phase.FITTING_HEAD:
            version = service.store.get_version(VersionName("fleeting", 1))
            if not version.timestamps.is_deleted:
                service.store.delete_model("fleeting", force=True)

    recommender = Recommender(
        settings_of(home),
        service.store,
        service.datasets,
        JobStore(service.store._database),
        on_progress=delete,
        check_going_on=lambda: None,
    )
    found = recommender.recommend("photos", Limits(), [ModelName("first"), ModelName("fleeting")])
    assert "models/fleeting/versions/1" not in {str(each) for each in found.ranking.ranked}
    assert [(each.base, each.reason) for each in found.left_out] == [
        ("models/fleeting/versions/1", "it was deleted while it was measured")
    ]
