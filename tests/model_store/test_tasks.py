"""What a manifest may say of its task."""

from __future__ import annotations

import pytest

from model_store.errors import InvalidManifest
from model_store.tasks import read_task


def test_names_that_decide_by_themselves_are_there_once() -> None:
    """An answer by name would say two things of one label or target; torchvision's classes have two names twice."""
    for kind, field in (("multi_label", "labels"), ("regression", "targets")):
        with pytest.raises(InvalidManifest, match=f"task.{field} must have no name twice, as 'b'"):
            read_task({"kind": kind, field: ["a", "b", "b"]})
        assert read_task({"kind": kind, field: ["a", "b"]}).names == ("a", "b")
    assert read_task({"kind": "classification", "labels": ["a", "b", "b"]}).names == ("a", "b", "b")
