"""The folder in which a command is typed is data: no program in it is ever run."""

from __future__ import annotations

from pathlib import Path

import pytest
from maas.training.v1 import training_pb2

from tests.e2e.conftest import start_serving

SHADOWS = ("secrets", "numpy", "torch", "grpc", "json", "typing_extensions")


@pytest.mark.slow
def test_modules_in_the_current_folder_are_not_imported(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services, training workers and evaluations work in a folder full of files named as libraries are."""
    folder, was_run = tmp_path / "here", tmp_path / "was_run"
    folder.mkdir()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"open({str(was_run)!r}, 'a').write({name!r})\nraise SystemExit(3)\n")
    monkeypatch.chdir(folder)
    with start_serving(tmp_path / "home") as client:
        client.upload_dataset("shapes", photos)
        job = client.finetune("shapes", base="squeezenet", dataset="shapes", recipe="linear_probe")
        for _ in client.watch(job.name):
            pass
        job = client.job(job.name)
        assert job.state == training_pb2.TRAINING_JOB_STATE_SUCCEEDED, job.error
        assert client.evaluate("shapes/1", "shapes").metrics.row_count > 0
        assert "<html" in client.report(job.name)
    assert not was_run.exists()
