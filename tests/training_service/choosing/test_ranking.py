"""Scores, what cannot be told apart, costs and limits: on numbers alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from model_store.errors import InvalidInput
from model_store.manifests import Manifest
from model_store.names import VersionName
from model_store.tasks import Classification
from training_service.choosing.candidates import Candidate, backbone_key
from training_service.choosing.costs import Costs, RowCounts, training_seconds
from training_service.choosing.prior import Prior
from training_service.choosing.probing import Comparison
from training_service.choosing.ranking import Limits, Measured, Ranking, rank
from training_service.recipes.head_names import HeadName
from training_service.recipes.recipe import DEFAULTS, RecipeName
from training_service.tasks import TRAINING_TASKS
from training_service.training.heads import EVERY_SECOND

TASK = Classification(("a", "b", "c"))
TRAINING_TASK = TRAINING_TASKS["classification"]
ACCURACY = TRAINING_TASK.metrics["accuracy"]
NUM_ROWS = 120


def comparison() -> Comparison:
    """Compare on 120 rows of three labels."""
    return Comparison.of(TASK, np.arange(NUM_ROWS) % 3, lambda: None)


def features(noise: float, seed: int = 0) -> np.ndarray:
    """Return features that tell the labels, as far as the noise lets them."""
    random = np.random.default_rng(seed)
    centres = np.eye(3, 8)[np.arange(NUM_ROWS) % 3]
    return (centres + random.normal(size=centres.shape) * noise).astype(np.float32)


def measured(name: str, noise: float, seconds: float, size: int = 1000, seed: int = 0) -> Measured:
    """Return a candidate with a real score, and these costs."""
    costs = Costs(seconds, 32 * seconds, size, 10, {"stem": seconds * 0.9, "head": seconds * 0.1})
    manifest = Manifest("tiny", {}, (), {"kind": "values"}, None, {"kind": "none"}, 8)
    candidate = Candidate(VersionName(name, 1), manifest, ("stem",))
    training = {RecipeName.LINEAR_PROBE: 60.0, RecipeName.FULL: 600.0}
    score = comparison().probe(features(noise, seed))
    return Measured(candidate, score, costs, training, DEFAULTS[RecipeName.LINEAR_PROBE], {})


def ranked(*candidates: Measured) -> Ranking:
    """Rank candidates."""
    return rank(candidates, ACCURACY, NUM_ROWS)


def test_the_score_is_that_of_a_probe_which_each_row_is_left_out_of() -> None:
    """A pipeline of scikit-learn, with the strength of the lowest loss, answers as many rows right."""
    rows, compared = features(0.6), comparison()
    scaler = StandardScaler().fit(rows)
    found = []
    for strength in TRAINING_TASK.strengths[EVERY_SECOND]:
        scores = np.zeros((NUM_ROWS, 3))
        for fold in range(5):
            seen = compared.folds != fold
            model = LogisticRegression(C=strength, max_iter=500).fit(
                scaler.transform(rows[seen]), compared.targets[seen]
            )
            scores[~seen] = model.predict_proba(scaler.transform(rows[~seen]))
        loss = -np.log(scores[np.arange(NUM_ROWS), compared.targets]).mean()
        found.append((loss, (scores.argmax(axis=1) == compared.targets).mean()))
    assert compared.probe(rows).metric == pytest.approx(min(found)[1], abs=1 / NUM_ROWS)


def test_the_interval_is_about_that_of_a_share() -> None:
    """Its half is about 1.5 times 1.645 standard errors, and of a perfect score it ends where chance would reach."""
    score = comparison().probe(features(0.6))
    half = 1.645 * np.sqrt(score.metric * (1 - score.metric) / NUM_ROWS)
    low, high = score.interval
    assert low < score.metric < high
    assert (high - low) / 2 == pytest.approx(1.5 * half, rel=0.25)
    perfect = comparison().probe(features(0.01))
    assert perfect.metric == 1
    assert perfect.interval == (pytest.approx(0.05 ** (1 / NUM_ROWS)), 1)


def test_of_those_that_are_alike_the_cheapest_is_taken() -> None:
    """The best by a row or two is not worth its latency; a candidate that is far behind is not asked."""
    dear, cheap, poor = (
        measured("dear", 0.5, 0.02), measured("cheap", 0.5, 0.01, seed=1), measured("poor", 5, 0.001)
    )  # fmt: skip
    found = ranked(poor, dear, cheap)
    assert found.num_alike == 2
    assert found.chosen is cheap
    assert found.ranked[-1] is poor
    assert found.reason.startswith(
        "no difference between the first two, as far as 120 rows can tell: models/cheap/versions/1 is the cheapest"
    )


def test_a_clear_winner_is_taken_whatever_it_costs() -> None:
    """The reason names the second."""
    found = ranked(measured("poor", 5, 0.001), measured("good", 0.1, 1.0))
    assert (found.num_alike, str(found.chosen)) == (1, "models/good/versions/1")
    assert "better than all others by more than noise" in found.reason
    assert "before models/poor/versions/1" in found.reason


def test_a_single_candidate_is_called_one() -> None:
    """There is nothing to compare it with."""
    assert "is the only candidate" in ranked(measured("one", 0.5, 0.01)).reason


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(latency_seconds=0.01), "latency: 20 ms, limit 10 ms"),
        (Limits(size_bytes=1024 * 1024), "size: 2 MiB, limit 1 MiB"),
        (Limits(training_seconds=30), "training: 1 minutes at least, limit 0.5 minutes"),
        (Limits(0.02, 2 * 1024 * 1024, 60), ""),
        (Limits(), ""),
    ],
)
def test_a_limit_says_what_it_rules_out(limits: Limits, told: str) -> None:
    """With the figure and the limit; a candidate at the limit keeps it."""
    each = measured("one", 0.5, 0.02, 2 * 1024 * 1024)
    assert limits.broken_by(each.costs, each.training) == told


def test_the_time_of_a_training_grows_with_what_it_moves() -> None:
    """By hand: a probe runs rows and mirror images once, last_stages moves one stage an epoch, full crops anew."""
    costs = Costs(1.0, 32.0, 0, 0, {"stem": 0.5, "top": 0.3, "head": 0.2})
    counts = RowCounts(train=10, validation=4, test=6)
    probe = training_seconds(DEFAULTS[RecipeName.LINEAR_PROBE], costs, (), counts, fit_seconds=3)
    assert probe == pytest.approx((2 * 14 + 6) * 1.0 + 2 * 3)
    last = training_seconds(DEFAULTS[RecipeName.LAST_STAGES], costs, ("top",), counts)
    assert last == pytest.approx(0.5 * (2 * 14 + 6) + 14 + 20 * (10 * 3 * 0.5 + 4 * 0.5) + 6 * 0.5)
    full = training_seconds(DEFAULTS[RecipeName.FULL], costs, ("stem", "top"), counts)
    assert full == pytest.approx(14 + 10 * (10 * 3 + 4) + 6)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (np.zeros(50, np.int64), "has one label in its training and validation rows"),
        (np.arange(6) % 3, "has 6 rows to compare bases on, and 10 are needed"),
    ],
)
def test_what_cannot_be_compared_is_refused(targets: np.ndarray, told: str) -> None:
    """Before anything is prepared."""
    with pytest.raises(InvalidInput, match=told):
        Comparison.of(TASK, targets, lambda: None)


def test_heads_on_raw_numbers_find_what_a_line_cannot() -> None:
    """Of an exclusive or, trees tell the label and logistic regression does not."""
    from model_store.bases.tabular import load_rows  # noqa: PLC0415

    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3)).astype(np.float32)
    labels = ((rows[:, 0] > 0) ^ (rows[:, 1] > 0)).astype(np.int64)
    compared = Comparison.of(Classification(("no", "yes")), labels, lambda: None)
    chain, cpu = load_rows(3).chain, torch.device("cpu")
    assert {"gradient_boosting", "random_forest", "mlp"} < set(compared.heads(3))
    names = (HeadName.GRADIENT_BOOSTING, HeadName.LOGISTIC_REGRESSION)
    found = {name: compared.fit(rows, name, chain, cpu).metric for name in names}
    assert found[HeadName.GRADIENT_BOOSTING] > 0.85
    assert found[HeadName.LOGISTIC_REGRESSION] < 0.65
    assert set(map(str, compared.heads(1000))) == {"logistic_regression"}


def test_heads_of_one_candidate_with_equal_scores_are_ranked() -> None:
    """They cannot be told apart, and the cheaper one is chosen."""
    best, other = measured("rows", 0.01, 1.0), measured("rows", 0.01, 0.5)
    found = ranked(best, replace(other, candidate=best.candidate))
    assert (found.num_alike, found.chosen.costs) == (2, other.costs)


def test_a_tie_does_not_go_to_a_base_that_was_worse_before() -> None:
    """The cheapest of equals is not taken where another one did better on four of four datasets."""
    cheap, dear = measured("cheap", 0.5, 0.001), measured("dear", 0.5, 0.01)
    other = replace(
        dear, candidate=replace(dear.candidate, manifest=replace(dear.candidate.manifest, arguments={"n": 2}))
    )
    keys = [backbone_key(each.candidate.manifest) for each in (cheap, other)]
    results = {str(number): {keys[0]: 0.7, keys[1]: 0.8} for number in range(4)}
    found = rank([cheap, other], ACCURACY, NUM_ROWS, Prior(results))
    assert found.chosen is other
    assert (
        "not models/cheap/versions/1, as models/dear/versions/1 did better on 4 of 4 earlier datasets" in found.reason
    )
    assert rank([cheap, other], ACCURACY, NUM_ROWS, Prior(dict(list(results.items())[:3]))).chosen is cheap
