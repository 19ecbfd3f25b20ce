"""What a person reads of a recommendation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from maas.training.v1 import training_pb2 as pb

from maas_client.views.output import out
from maas_client.views.recommendation import show_recommendation


def test_a_candidate_has_one_line_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With wide figures and a name of 20 characters; further scores stand in a table of their own."""
    monkeypatch.setattr(out, "_width", 80)
    base = pb.RecommendedBase(
        base="models/efficientnet-lite0-b/versions/12",
        score=0.8125,
        score_low=0.75,
        score_high=0.875,
        diagnostics={"neighbours": 0.71, "log_me": -0.331, "h_score": 123.4},
        row_latency=timedelta(milliseconds=123.4),
        batch_latency=timedelta(milliseconds=1234.5),
        size_bytes=123_400_000,
        training_times={"linear_probe": Duration(seconds=738)},
        recipe=pb.Recipe(linear_probe={}),
    )
    show_recommendation(pb.Recommendation(dataset="datasets/photos", metric="accuracy", chosen=base, bases=[base]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    row = ["efficientnet-lite0-b/12", "0.812", "0.750-0.875", "123", "123", "12.3", "min"]
    assert row in lines
    assert ["efficientnet-lite0-b/12", "1234", "0.71", "-0.331", "123"] in lines
