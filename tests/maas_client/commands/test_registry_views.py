"""What commands show of recipes, comparisons, lineages and changes, and that texts of others are not obeyed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from grpc_runtime.child_process import command_of
from model_store.names import VersionName
from model_store.records.resources import Lineage, Notes
from tests.maas_client.commands.publishing import publish
from tests.maas_client.running import Maas, read
from tests.model_store.making import registered_dataset
from tests.training_service.registry_running import TIMEOUT, RunningRegistry


def test_a_recipe_is_shown_as_people_write_it(registry: RunningRegistry, maas: Maas) -> None:
    """What was not used is left out, whole numbers have no decimals, and the order is the proto's."""
    recipe = {
        "weight_decay": 0.0,
        "find_learning_rate": False,
        "strength": 0.03,
        "learning_rate": 1e-4,
        "batch_size": 32,
        "class_weights": "none",
        "epoch_count": 5,
        "name": "last_stages",
        "reason": "enough rows",
    }
    publish(registry, lineage=Lineage(recipe=recipe, seed=7))
    _, out, _ = maas("show", "flowers/1")
    assert "recipe        last_stages  epoch_count=5  batch_size=32  learning_rate=0.0001  strength=0.03" in out
    assert "chosen for    enough rows" in out


def test_remarks_of_the_training_are_shown_apart_from_its_recipe(registry: RunningRegistry, maas: Maas) -> None:
    """They are sentences, and what a reader of the recipe must know."""
    remarks = ["no epoch improved on the probe", "the rate was halved"]
    publish(registry, lineage=Lineage(recipe={"name": "full", "epoch_count": 2.0, "remarks": remarks}))
    _, out, _ = maas("show", "flowers/1")
    lines = [line.rstrip() for line in out.splitlines()]
    assert "recipe        full  epoch_count=2" in lines
    assert "remarks       no epoch improved on the probe; the rate was halved" in lines


def test_two_versions_side_by_side(registry: RunningRegistry, maas: Maas) -> None:
    """Metrics with their difference, changed stages with sizes, hyperparameters, and what is shared."""
    registered_dataset(registry.store, "photos")
    lineages = [Lineage(dataset_id="photos", recipe={"rate": rate}) for rate in (0.1, 0.2)]
    publish(registry, lineage=lineages[0], metric_values={"accuracy": 0.8, "old": 2.0})
    publish(registry, seeds=(1, 3), lineage=lineages[1], metric_values={"accuracy": 0.95})
    code, out, _ = maas("compare", "flowers/1", "flowers")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["accuracy", "0.8", "0.95", "+0.15"] in rows
    assert ["old", "2"] in rows
    assert ["rate", "0.1", "0.2"] in rows
    digests = [registry.client.version(f"flowers/{number}").stages[1].digest[:12] for number in (1, 2)]
    (stage,) = (row for row in rows if row[:1] == ["stage1"])
    assert [word for word in stage if word in digests] == digests
    assert "every stage is the same" not in out
    assert read(maas, "compare", "flowers/1", "flowers/2")["stages"][0]["name"] == "stage1"
    assert "every stage is the same" in maas("compare", "flowers/1", "flowers/1")[1]


def test_metrics_of_other_rows_are_told_apart(registry: RunningRegistry, maas: Maas) -> None:
    """No figure stands beside another one; what to do instead does."""
    for dataset in ("photos", "drawings"):
        registered_dataset(registry.store, dataset)
        publish(registry, lineage=Lineage(dataset_id=dataset), metric_values={"accuracy": 0.8})
    _, out, _ = maas("compare", "flowers/1", "flowers/2")
    text = " ".join(out.split())
    assert (
        "metrics are not compared: models/flowers/versions/1 was measured on the test split of datasets/photos" in text
    )
    assert "`maas evaluate flowers/1 --dataset drawings --held-out`" in text
    assert "0.8" not in text


def test_a_lineage_is_a_tree_both_ways(registry: RunningRegistry, maas: Maas) -> None:
    """Bases above, children below, each followed once."""
    publish(registry, "base")
    for number, parent in ((1, VersionName("base", 1)), (2, VersionName("flowers", 1)), (3, VersionName("flowers", 1))):
        publish(registry, seeds=(number,), lineage=Lineage(base=parent))
    lines = [line.strip(" │├└─").split("  ")[0] for line in maas("lineage", "flowers/1")[1].splitlines()]
    assert lines == ["flowers/1", "made from", "base base/1", "made into", "flowers/2", "flowers/3"]
    code, out, err = maas("lineage", "flowers/1", "--up", "0", "--down", "0")
    assert (code, out.split()[0], "there is more" in err) == (0, "flowers/1", True)
    assert len(read(maas, "lineage", "base/1")["edges"]) == 3
    assert "NOT_FOUND: datasets/none" in maas("lineage", "datasets/none")[2]


@pytest.fixture
def _heeding_ctrl_c() -> Iterator[None]:
    """A process that a shell put into the background ignores SIGINT, and so does what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeding_ctrl_c")
def test_changes_are_printed_as_they_happen(registry: RunningRegistry) -> None:
    """One JSON object a line, at once, until Ctrl-C, which is no failure."""
    publish(registry)
    with _watching(registry, "flowers", "--after", "0", "--json") as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert (first["kind"], first["resource"]) == ("KIND_VERSION_PUBLISHED", "models/flowers/versions/1")
        publish(registry, "roses")
        publish(registry, seeds=(3,))
        second = json.loads(watching.stdout.readline())
        assert second["resource"] == "models/flowers/versions/2"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(TIMEOUT) == 0
    with _watching(registry, "--after", first["sequence"]) as watching:
        assert watching.stdout is not None
        line = watching.stdout.readline().split()
        assert line[-2:] == ["version_published", "models/roses/versions/1"]
        watching.stdout.close()
        publish(registry, "lilies")
        assert watching.wait(TIMEOUT) == 1
        assert watching.stderr is not None
        assert watching.stderr.read() == ""


def test_what_others_wrote_is_shown_and_not_obeyed(registry: RunningRegistry, maas: Maas) -> None:
    """Neither markup of the tables' library nor commands to the terminal; an error's text comes whole."""
    publish(
        registry, notes=Notes("[/] [red]\x1b[31mred", {"team": "[bold]x[/bold]"}), lineage=Lineage(recipe={"a": "[/]"})
    )
    for command in (["versions", "flowers"], ["show", "flowers/1"]):
        code, out, _ = maas(*command)
        assert (code, "[bold]x[/bold]" in out, "\x1b" in out) == (0, True, False)
    assert "a=[/]" in out
    assert "tags['[red]x']" in maas("tag", "flowers/1", "[red]x=1")[2]


def _watching(registry: RunningRegistry, *arguments: str) -> subprocess.Popen[str]:
    command = [*command_of("maas_client"), "watch", *arguments]
    environment = {**os.environ, "MAAS_TRAINING_ADDRESS": registry.address}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
