"""The registry's commands, as a person types them and reads them, on a real service."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from grpc_runtime.child_process import command_of
from model_store.records.resources import Lineage, Notes
from tests.maas_client.commands.publishing import publish
from tests.maas_client.running import Maas, read
from tests.training_service.making import picture
from tests.training_service.registry_running import TIMEOUT, RunningRegistry


def test_models_are_created_listed_and_found(registry: RunningRegistry, maas: Maas) -> None:
    """With their tags and aliases; a filter leaves some out, and what was deleted is shown where asked for."""
    assert maas("models")[1].startswith("no models yet")
    assert read(maas, "models", "create", "flowers", "--description", "Ours.", "--tag", "team=vision")["tags"] == {
        "team": "vision"
    }
    publish(registry, "roses", alias="production")
    _, out, _ = maas("models")
    assert "team=vision" in out
    assert "production -> 1" in out
    assert [model["name"] for model in read(maas, "models", "--filter", "tags.team = vision")] == ["models/flowers"]
    assert maas("models", "--filter", "tags.team = sound")[1] == "nothing passes the filter\n"
    maas("delete", "flowers")
    assert [model["name"] for model in read(maas, "models")] == ["models/roses"]
    assert "deleted" in maas("models", "--deleted")[1]
    code, _, err = maas("models", "create", "roses", "--tag", "team=vision")
    assert (code, "ALREADY_EXISTS: models/roses exists already: update it" in err) == (7, True)


def test_versions_are_sorted_filtered_and_limited(registry: RunningRegistry, maas: Maas) -> None:
    """By any metric, which then has a column; tags have theirs where there is room."""
    for seed, accuracy in ((1, 0.7), (2, 0.9), (3, 0.8)):
        values = {"accuracy": accuracy, "latency_ms": 10 * seed}
        publish(registry, seeds=(seed,), metric_values=values, notes=Notes(tags={"team": f"team-{seed}"}))
    by_accuracy = read(maas, "versions", "flowers", "--sort", "metrics.accuracy desc", "--limit", "2")
    assert [version["name"][-1] for version in by_accuracy] == ["2", "3"]
    _, out, _ = maas("versions", "flowers", "--sort", "metrics.latency_ms", "--filter", "metrics.accuracy > 0.75")
    rows = [words for line in out.splitlines() if (words := line.split())]
    assert "latency_ms" in rows[1]
    found = [(row[0], row[3], "team=team-2" in row) for row in rows[-2:]]
    assert found == [("2", "20", True), ("3", "30", False)]
    code, _, err = maas("versions", "flowers", "--filter", "accuracy > 1")
    assert (code, "INVALID_ARGUMENT: filter: knows no field 'accuracy'" in err) == (2, True)


def test_names_that_nothing_has_are_told_from_those_that_are_there(registry: RunningRegistry, maas: Maas) -> None:
    """Mistyped metrics, tags and aliases, in a filter and in an order, for people and for programs."""
    publish(registry, metric_values={"accuracy": 0.9}, notes=Notes(tags={"team": "vision"}), alias="production")
    code, out, err = maas("versions", "flowers", "--sort", "metrics.acuracy desc")
    assert (code, out) == (0, "nothing passes the filter\n")
    assert err == "no version of flowers has a metric 'acuracy': there is accuracy; do you mean accuracy?\n"
    code, out, err = maas("versions", "flowers", "--filter", "tags.tema = vision AND aliases:prod", "--json")
    assert (code, json.loads(out)) == (0, [])
    assert "a tag 'tema': there is team; do you mean team?" in err
    assert "an alias 'prod': there is production" in err
    assert "no model has a tag 'owner': there are none" in maas("models", "--filter", "tags.owner:*")[2]
    assert maas("versions", "flowers", "--filter", "metrics.accuracy > 0.95")[2] == ""
    assert len(read(maas, "versions", "flowers", "--filter", "tags.team = 'vision'")) == 1


def test_everything_is_shown_of_one(registry: RunningRegistry, maas: Maas) -> None:
    """Of a model, of a version by number, by alias, or by its model's name."""
    lineage = Lineage(recipe={"name": "full", "rate": 0.1}, seed=7)
    about = Notes("From the garden.", {"team": "vision"})
    publish(registry, lineage=lineage, metric_values={"accuracy": 0.5}, notes=about, alias="live")
    _, out, _ = maas("show", "flowers@live")
    for text in ("models/flowers/versions/1", "rate=0.1", "accuracy 0.5", "team=vision", "From the garden.", "stage1"):
        assert text in out
    assert read(maas, "show", "flowers/1") == read(maas, "show", "flowers@live")
    assert read(maas, "show", "flowers")["aliases"][0]["version"] == "models/flowers/versions/1"
    assert "live -> 1" in maas("show", "flowers")[1]
    assert (
        "NOT_FOUND: models/flowers/versions/2 does not exist; `maas versions flowers`" in maas("show", "flowers/2")[2]
    )


def test_weights_are_imported_with_images_to_calibrate_by(maas: Maas, tmp_path: Path) -> None:
    """A folder of them; what cannot be calibrated is explained."""
    (tmp_path / "red.png").write_bytes(picture())
    given = ["import", "squeezenet1_1", "--random", "0", "--calibration", str(tmp_path)]
    code, _, err = maas(*given)
    assert (code, "calibration: is for weights with labels" in err) == (2, True)
    assert read(maas, *given, "--num-labels", "3")["calibration"]["logits_size_bytes"]
    assert "calibration" in maas("show", "squeezenet1-1/1")[1]


def test_tags_are_set_and_removed_one_by_one(registry: RunningRegistry, maas: Maas) -> None:
    """On a model, on a version, and on what an alias names; the others stay."""
    publish(registry, notes=Notes(tags={"team": "vision", "draft": "yes"}), alias="live")
    assert maas("tag", "flowers@live", "draft=", "approved=by=ann")[1] == (
        "models/flowers/versions/1  approved=by=ann team=vision\n"
    )
    assert read(maas, "tag", "flowers", "area=plants")["tags"] == {"area": "plants"}
    assert "has no tags" in maas("tag", "flowers", "area=")[1]
    code, _, err = maas("tag", "flowers", "area")
    assert (code, "'area' must have the form KEY=VALUE" in err) == (2, True)
    assert "version.tags['1']" in maas("tag", "flowers/1", "1=x")[2]


def test_a_description_is_written_unless_somebody_was_first(registry: RunningRegistry, maas: Maas) -> None:
    """With the etag that was read, an overtaken change is ABORTED and says what to do."""
    publish(registry)
    etag = read(maas, "show", "flowers/1")["etag"]
    assert maas("describe", "flowers/1", "First.", "--etag", etag)[1] == "models/flowers/versions/1 is described\n"
    code, _, err = maas("describe", "flowers/1", "Second.", "--etag", etag)
    assert (code, "ABORTED: models/flowers/versions/1 was changed meanwhile" in err) == (7, True)
    assert "read it again" in err
    assert read(maas, "show", "flowers/1")["description"] == "First."
    assert read(maas, "describe", "flowers", "All of them.")["description"] == "All of them."


def test_what_was_deleted_comes_back(registry: RunningRegistry, maas: Maas) -> None:
    """Each answer says how; a refusal says what stands on it."""
    publish(registry, alias="live")
    code, _, err = maas("delete", "flowers/1")
    assert (code, "FAILED_PRECONDITION" in err, "models/flowers/aliases/live points at" in err) == (7, True, True)
    assert "delete it with `maas alias delete`" in maas("delete", "flowers@live")[2]
    assert (
        maas("alias", "delete", "flowers", "live", "--reason", "old")[1] == "models/flowers/aliases/live is deleted\n"
    )
    assert "old" in maas("alias", "history", "flowers", "live")[1]
    assert "`maas undelete flowers/1` brings it back" in maas("delete", "flowers/1")[1]
    assert "deleted" in maas("versions", "flowers", "--deleted")[1]
    assert "was deleted: undelete it first" in maas("tag", "flowers/1", "a=b")[2]
    assert maas("undelete", "flowers/1")[1] == "models/flowers/versions/1 is back\n"
    assert "delete with force" in maas("delete", "flowers")[2]
    assert read(maas, "delete", "flowers", "--force")["state"] == "RESOURCE_STATE_DELETED"
    assert maas("undelete", "flowers")[1] == "models/flowers is back\n"
    assert "ABORTED" in maas("alias", "set", "flowers", "live", "1", "--etag", "1")[2]


def test_an_alias_is_shown_with_the_etag_that_guards_it(registry: RunningRegistry, maas: Maas) -> None:
    """What `alias show` prints lets one move pass, and no second one."""
    for seeds in ((1, 2), (1, 3)):
        publish(registry, seeds=seeds)
    assert maas("alias", "set", "flowers", "live", "1")[0] == 0
    etag = read(maas, "alias", "show", "flowers", "live")["etag"]
    assert f"etag       {etag}" in maas("alias", "show", "flowers", "live")[1]
    assert read(maas, "alias", "set", "flowers", "live", "2", "--etag", etag)["version"] == "models/flowers/versions/2"
    for guarded in (("rollback", "flowers", "live"), ("delete", "flowers", "live", "--yes")):
        assert "was changed meanwhile" in maas("alias", *guarded, "--etag", etag)[2]


@pytest.mark.parametrize(
    ("answer", "arguments", "state"),
    [("n\n", [], "ACTIVE"), ("y\n", [], "DELETED"), ("", ["--yes"], "DELETED")],
)
def test_a_terminal_is_asked_before_something_is_deleted(
    registry: RunningRegistry, answer: str, arguments: list[str], state: str
) -> None:
    """Anything but yes leaves it as it is."""
    publish(registry)
    ours, theirs = os.openpty()
    os.write(ours, answer.encode())
    try:
        done = _maas(registry, "delete", "flowers/1", *arguments, stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    asked = "Delete models/flowers/versions/1?" in done.stderr
    assert (asked, done.returncode) == (not arguments, 1 if state == "ACTIVE" else 0)
    assert registry.client.version("flowers/1").state == {"ACTIVE": 1, "DELETED": 2}[state]


def test_an_alias_gives_other_versions_a_share(registry: RunningRegistry, maas: Maas) -> None:
    """What was set is shown wherever the alias is, and a roll back brings it back."""
    for seed in range(1, 5):
        publish(registry, seeds=(seed,))
    setting = ["alias", "set", "flowers", "live", "1"]
    split = "1 (84.5%), 2 (10%), 3 (5.5%), shadowed by 4 (100%)"
    _, out, err = maas(*setting, "--canary", "2:10", "--canary", "3:5.5", "--shadow", "4:100")
    assert (out.replace("\n", ""), err) == (f"models/flowers/aliases/live -> {split}", "")
    assert split in maas("show", "flowers")[1]
    assert split in maas("alias", "history", "flowers", "live")[1]
    assert maas(*setting)[1] == "models/flowers/aliases/live -> models/flowers/versions/1\n"
    assert read(maas, "alias", "rollback", "flowers", "live")["canaries"][1]["percent"] == 5.5
    for wrong in ("2", "2:", ":5", "2:x"):
        assert "--canary must have the form NUMBER:PERCENT, such as 4:10" in maas(*setting, "--canary", wrong)[2]
    assert "canaries[0].percent: must be above 0" in maas(*setting, "--canary", "2:nan")[2]


def test_a_new_alias_is_remarked_on(registry: RunningRegistry, maas: Maas) -> None:
    """Where there are others: it may be one of these, mistyped."""
    for seed in (1, 2):
        publish(registry, seeds=(seed,))
    assert maas("alias", "set", "flowers", "production", "1")[::2] == (0, "")
    code, out, err = maas("alias", "set", "flowers", "prodution", "2", "--json")
    assert (code, json.loads(out)["version"]) == (0, "models/flowers/versions/2")
    assert err == "prodution is a new alias of flowers: there is production; do you mean production?\n"
    assert maas("alias", "set", "flowers", "prodution", "1")[2] == ""
    assert maas("alias", "set", "flowers", "eu", "1")[2] == (
        "eu is a new alias of flowers: there are production, prodution\n"
    )
    assert "NOT_FOUND: models/roses" in maas("alias", "set", "roses", "production", "1")[2]


def _maas(registry: RunningRegistry, *arguments: str, stdin: int) -> subprocess.CompletedProcess[str]:
    command = [*command_of("maas_client"), *arguments]
    environment = {**os.environ, "MAAS_TRAINING_ADDRESS": registry.address}
    return subprocess.run(
        command, stdin=stdin, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
