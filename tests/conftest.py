"""Fixtures that every folder of tests shares: a real database and a real folder of blobs."""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, sqlite_url
from model_store.registry.models import ModelStore
from tests.missing import skip_or_fail
from tests.postgres_server import NoPostgres, new_database, postgres_server
from tests.s3_server import BUCKET, NoS3, S3Server, s3_server

# A service that compiles what it loads takes a core for seconds: tests of the backend ask for it.
os.environ.setdefault("MAAS_INFERENCE_CPU_BACKEND", "torch")
# A job on a small dataset runs its recipe several times: tests of cross-validation ask for it.
os.environ.setdefault("MAAS_TRAINING_CROSS_VALIDATION_SECONDS", "0")

# The same examples on every machine: a red run can be repeated.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL server that lives as long as the tests do."""
    try:
        # Not below pytest's own folder: every pytest that starts closes that to other users, such as the server's.
        with tempfile.TemporaryDirectory(prefix="maas-postgres-") as folder, postgres_server(Path(folder)) as url:
            yield url
    except NoPostgres as error:
        skip_or_fail("postgres", str(error))


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database at the current schema, on each kind of server."""
    if request.param == "sqlite":
        database = Database(sqlite_url(tmp_path / "store.db"))
        database.open_schema()
    else:
        database = new_database(request.getfixturevalue("postgres"))
    yield database
    database.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server that lives as long as the tests do."""
    try:
        with s3_server(tmp_path_factory.mktemp("s3")) as server:
            yield server
    except NoS3 as error:
        skip_or_fail("s3", str(error))


@pytest.fixture
def s3_url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty place on that server, which the environment tells how to reach."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    """An empty blob store in a real folder."""
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def store(database: Database, blobs: LocalBlobs) -> ModelStore:
    """A model store on both."""
    return ModelStore(database, blobs)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["/bin/mount", "-t", "tmpfs", "-o", "size=8m", "none", folder]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        skip_or_fail("mount", f"no filesystem can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["/bin/umount", "-l", folder], check=True)
