"""Searches as people write them: files of JSON and TOML."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from maas.training.v1 import training_pb2 as pb

from maas_client.errors import InvalidArgument
from maas_client.typed.searches import read_duration, read_search, search_asked, search_of

TOML = """
max_trials = 12
time_limit = "1.5m"
[recipes.linear_probe]
[recipes.last_stages]
epoch_count = 5
learning_rate = {low = 1e-5, high = 1e-3, log = true}
augmentation = ["none", "mirror"]
"""
JSON = """{"max_trials": 12, "time_limit": "90s", "recipes": {"linear_probe": {}, "last_stages": {"epoch_count": 5,
"learning_rate": {"low": 1e-5, "high": 1e-3, "log": true}, "augmentation": ["none", "mirror"]}}}"""


@pytest.mark.parametrize(("name", "text"), [("space.toml", TOML), ("space.json", JSON)])
def test_a_file_is_a_search(tmp_path: Path, name: str, text: str) -> None:
    """Single values are fixed, lists and ranges vary; options of the command go before what the file says."""
    path = tmp_path / name
    path.write_text(text)
    search = read_search(path)
    probe, stages = search.recipes
    assert probe.recipe.WhichOneof("recipe") == "linear_probe"
    assert stages.recipe.last_stages.epoch_count == 5
    assert [each.name for each in stages.dimensions] == ["learning_rate", "augmentation"]
    assert stages.dimensions[0].range == pb.NumberRange(low=1e-5, high=1e-3, is_logarithmic=True)
    assert list(stages.dimensions[1].choices) == ["none", "mirror"]
    assert (search.max_trial_count, search.time_limit.ToTimedelta()) == (12, timedelta(seconds=90))
    changed = search_asked(path, 3, "2h")
    assert changed is not None
    assert (changed.max_trial_count, changed.time_limit.ToTimedelta()) == (3, timedelta(hours=2))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"recipe": {}}, "a search has no 'recipe'"),
        ({"recipes": []}, "recipes must be an object"),
        ({"recipes": {"fulll": {}}}, "do you mean full"),
        ({"recipes": {"auto": {}}}, "there is no recipe 'auto'"),
        ({"recipes": {"full": 3}}, "full must be an object"),
        ({"recipes": {"full": {"rate": 1}}}, "the recipe full has no field 'rate'"),
        ({"recipes": {"full": {"learning_rate": {"low": 1}}}}, "must have two numbers"),
        ({"recipes": {"full": {"learning_rate": {"from": 1}}}}, "the range of learning_rate has no 'from'"),
        ({"recipes": {}, "max_trials": "many"}, "max_trials must be a whole number"),
        ({"recipes": {}, "time_limit": "soon"}, "'soon' is no time"),
    ],
)
def test_wrong_searches_are_refused(values: dict[str, Any], text: str) -> None:
    """Each by what is wrong."""
    with pytest.raises(InvalidArgument, match=text):
        search_of(values)


def test_times_have_units() -> None:
    """Seconds, minutes and hours; limits alone are no search."""
    assert [read_duration(text) for text in ("90s", "10m", "1.5h")] == [
        timedelta(seconds=90),
        timedelta(minutes=10),
        timedelta(minutes=90),
    ]
    assert search_asked(None, None, "") is None
    with pytest.raises(InvalidArgument, match="name its file with --search"):
        search_asked(None, 3, "")
