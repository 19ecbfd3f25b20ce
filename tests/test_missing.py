"""A test that cannot run is skipped, but never where its server is required."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.missing import VARIABLE, skip_or_fail


def test_what_is_missing_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says which."""
    monkeypatch.setenv(VARIABLE, "s3,tritonclient")
    with pytest.raises(pytest.skip.Exception, match="no PostgreSQL"):
        skip_or_fail("postgres", "no PostgreSQL")
    monkeypatch.setenv(VARIABLE, "postgres,s3")
    with pytest.raises(pytest.fail.Exception, match="no PostgreSQL"):
        skip_or_fail("postgres", "no PostgreSQL")


def test_continuous_integration_requires_every_server() -> None:
    """All that the fixtures of the tests ask for by name, but a filesystem: a container may not mount one."""
    script = (Path(__file__).parents[1] / ".ci/run").read_text()
    assert f"export {VARIABLE}=postgres,s3,tritonclient\n" in script
