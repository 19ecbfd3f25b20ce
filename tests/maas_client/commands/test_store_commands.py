"""`maas store`: what an operator sees, on the store that the ordinary settings name."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from maas_client.__main__ import main
from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database
from model_store.names import VersionName
from model_store.registry.models import ModelStore
from model_store.transactions.listings import ListRequest
from tests.model_store.making import age, publication

Maas = Callable[..., tuple[int, str]]


@pytest.fixture
def maas(
    database: Database,
    blobs: LocalBlobs,  # noqa: ARG001  its folder is what the setting names
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Maas:
    """Run a command of the store; return its exit code and all that it printed."""
    monkeypatch.setenv("MAAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MAAS_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("MAAS_BLOBS_URL", str(tmp_path / "blobs"))

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["maas", "store", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        printed = capsys.readouterr()
        return int(exited.value.code or 0), printed.out + printed.err

    return run


def read(maas: Maas, *arguments: str) -> Any:
    """Run a command with --json and return what it said; nothing else may be printed."""
    return json.loads(maas(*arguments, "--json")[1])


def flip_byte(path: Path) -> None:
    """Damage the last byte of a blob."""
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_a_good_store_is_told_to_be_good(maas: Maas, store: ModelStore) -> None:
    """Exit code 0, and what was looked at."""
    store.publish(publication(store))
    store.blobs.put([b"orphan"])
    code, text = maas("fsck")
    assert code == 0
    assert "checked 1 versions, 0 datasets, 4 blobs" in text
    assert "stages were not read: --deep does" in text
    assert "1 blobs are named by no row: `maas store gc`" in text
    assert text.strip().endswith("nothing is wrong")
    report = read(maas, "fsck", "--deep")
    assert (report["is_clean"], report["is_deep"], report["num_orphans"], report["problems"]) == (True, True, 1, [])


def test_damage_is_named_with_who_needs_it_and_what_to_do(maas: Maas, store: ModelStore, blobs: LocalBlobs) -> None:
    """Exit code 1; the first ten names in full, all of them as JSON."""
    names = [str(store.publish(publication(store)).name) for _ in range(12)]
    stage = store.get_version(VersionName("flowers", 1)).stages[0].digest
    flip_byte(blobs.path(stage))
    code, text = maas("fsck", "--deep")
    assert code == 1
    assert f"corrupt_blob: blob {stage} is not what its digest says" in text
    assert f"needed by {', '.join(names[:10])} and 2 more\n" in text
    assert "to do: `maas store fsck --repair --from URL`" in text
    assert text.strip().endswith("1 problems")
    report = read(maas, "fsck", "--deep")
    assert report["is_clean"] is False
    assert report["problems"][0]["needed_by"] == names
    assert report["problems"][0]["kind"] == "corrupt_blob"


def test_a_backup_heals_the_store(maas: Maas, store: ModelStore, blobs: LocalBlobs, tmp_path: Path) -> None:
    """Without it the damaged blob is only moved aside and missing then; with it the exit code is 0 again."""
    version = store.publish(publication(store))
    shutil.copytree(tmp_path / "blobs", tmp_path / "backup")
    flip_byte(blobs.path(version.stages[0].digest))
    code, text = maas("fsck", "--deep", "--repair")
    assert code == 1
    assert "moved to " in text
    assert "not fetched again: name a second store or a backup with --from" in text
    code, text = maas("fsck", "--repair", "--from", f"file://{tmp_path / 'backup'}")
    assert code == 0
    assert f"missing_blob: blob {version.stages[0].digest} is not in the store" in text
    assert text.strip().endswith("0 problems, 1 repaired")
    assert maas("fsck", "--deep")[0] == 0


def test_a_source_that_is_none_is_refused(maas: Maas, tmp_path: Path) -> None:
    """A mistyped folder is not taken for an empty store, and not made."""
    code, text = maas("fsck", "--repair", "--from", str(tmp_path / "nowhere"))
    assert code == 2
    assert "holds no blobs: name the folder that has sha256 in it" in text
    assert not (tmp_path / "nowhere").exists()
    code, text = maas("fsck", "--from", str(tmp_path))
    assert (code, "give both" in text) == (2, True)


def test_what_is_due_is_purged_and_collected(
    maas: Maas, store: ModelStore, database: Database, blobs: LocalBlobs
) -> None:
    """First said, then done; after that there is nothing left to do."""
    store.publish(publication(store))
    ModelStore(database, blobs, kept_for=timedelta(0)).delete_model("flowers", force=True)
    age(blobs)
    code, text = maas("gc")
    assert code == 0
    assert "1 versions, 1 models and 0 datasets that are due; 3 unused blobs" in text
    assert "would be removed by --delete" in text
    found = read(maas, "gc", "--delete")
    assert (found["num_versions"], found["num_models"], found["num_blobs"], found["deleted"]) == (1, 1, 3, True)
    assert read(maas, "gc")["num_blobs"] == 0
    assert list(blobs.all()) == []


def test_garbage_that_is_too_young_is_said_to_be(maas: Maas, blobs: LocalBlobs) -> None:
    """Both commands give the reason why so much garbage is not collected."""
    blobs.put([b"orphan"])
    assert "6 B of it is younger than 24 hours, which `maas store gc` leaves alone" in maas("du")[1]
    for options, hours in (((), "24"), (("--delete", "--grace-hours", "2"), "2")):
        assert f"1 more unused files, 6 B, are younger than {hours} hours and left alone" in maas("gc", *options)[1]


def test_a_short_grace_period_is_refused(maas: Maas) -> None:
    """The safety stays on."""
    code, text = maas("gc", "--delete", "--grace-hours", "0.001")
    assert (code, "grace_seconds: must be at least 60" in text) == (2, True)


def test_what_takes_room_is_listed(maas: Maas, store: ModelStore) -> None:
    """One line for each model, and the totals."""
    for model_id, seeds in (("flowers", (1, 2)), ("birds", (1, 3))):
        store.publish(publication(store, model_id, seeds))
    store.delete_model("birds", force=True)
    code, text = maas("du")
    assert code == 0
    assert "models/flowers" in text
    assert "models/birds" in text
    assert "of 1 deleted versions, which can still come back" in text
    usage = read(maas, "du")
    assert {model["name"]: model["num_deleted_versions"] for model in usage["models"]} == {
        "models/flowers": 0,
        "models/birds": 1,
    }
    assert usage["ratio"] == usage["logical_bytes"] / usage["model_bytes"]


def test_old_versions_are_pruned(maas: Maas, store: ModelStore) -> None:
    """A dry run deletes nothing; each version that is kept is listed with the reason."""
    for number in range(4):
        store.publish(publication(store, alias="production" if number == 0 else None))
    code, text = maas("prune", "flowers", "--keep-last", "2")
    assert code == 0
    assert "production points at it" in text
    assert "1 versions would be removed by --delete, 3 kept" in text
    found = read(maas, "prune", "--keep-last", "2", "--newer-than", "30d")
    assert (found["versions"], found["deleted"]) == ([], False)
    found = read(maas, "prune", "models/flowers", "--keep-last", "2", "--delete")
    assert (found["versions"], found["deleted"]) == (["models/flowers/versions/2"], True)
    assert found["kept"][0] == {"version": "models/flowers/versions/1", "reason": "production points at it"}
    assert [each.name.number for each in store.list_versions("flowers", ListRequest()).items] == [4, 3, 1]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "say what should stay: --keep-last, --newer-than, or both"),
        (["--keep-last", "0"], "must be at least 1"),
        (["--newer-than", "30"], "has the form 12h, 30d or 8w"),
        (["Flowers", "--keep-last", "1"], "model: must be"),
        (["flowers", "--keep-last", "1"], "models/flowers does not exist"),
    ],
)
def test_a_prune_that_cannot_be_meant_is_refused(maas: Maas, arguments: list[str], text: str) -> None:
    """The message says what was wrong."""
    code, said = maas("prune", *arguments)
    assert (code, text in said) == (1 if "does not exist" in text else 2, True)


def test_a_damaged_database_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its operator is told which file, in one line and without a traceback; its folder may have any name."""
    home = tmp_path / "what? now"
    home.mkdir()
    (home / "store.db").write_bytes(b"no database at all" * 100)
    monkeypatch.setenv("MAAS_HOME", str(home))
    monkeypatch.delenv("MAAS_DATABASE_URL", raising=False)
    for command in ("fsck", "du", "gc", "migrate"):
        monkeypatch.setattr(sys, "argv", ["maas", "store", command])
        with pytest.raises(SystemExit) as exited:
            main()
        (line,) = capsys.readouterr().err.splitlines()
        assert exited.value.code == 1
        assert "restore it from a backup" in line
        assert str(home / "store.db") in line


def test_a_newer_database_asks_for_a_newer_maas(maas: Maas, database: Database) -> None:
    """No command is named that would end in a traceback."""
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for command in ("migrate", "du"):
        code, printed = maas(command)
        assert code == 1
        assert "upgrade this one" in printed
        assert "maas store migrate" not in printed
