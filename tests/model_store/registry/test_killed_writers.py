"""A store whose writers are killed at any moment: nothing is ever wrong with it, and nothing stays behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_store.database.engine import Database
from tests.model_store.killing import kill_writers


@pytest.mark.timeout(120)
@pytest.mark.parametrize("num_kills", [8, pytest.param(20, marks=pytest.mark.slow)])
def test_a_store_survives_writers_that_are_killed(database: Database, tmp_path: Path, num_kills: int) -> None:
    """After every kill rows and blobs agree; at the end all garbage can go, and no number was given twice or lost."""
    outcome = kill_writers(database, tmp_path / "blobs", num_kills=num_kills, seed=1)
    assert outcome.problems == []
    assert (outcome.num_orphans, outcome.num_unfinished) == (0, 0)
    assert outcome.models_with_wrong_numbers == []
    assert outcome.num_published > num_kills
