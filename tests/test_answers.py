"""What counts as the same answer to separate requests."""

from __future__ import annotations

from maas.inference.v1 import inference_pb2 as pb

from tests.answers import alike


def answer(label: str = "rose", score: float = 0.5, num_predictions: int = 1) -> pb.PredictResponse:
    """Return an answer."""
    scores = [pb.LabelScore(label=label, score=score)]
    prediction = pb.Prediction(classification=pb.Classification(scores=scores))
    return pb.PredictResponse(version="models/flowers/versions/1", predictions=[prediction] * num_predictions)


def test_only_floats_may_differ_and_little() -> None:
    """A label, a number of rows, a field that is missing, and a larger difference are told apart."""
    assert alike(answer(), answer(score=0.5 + 1e-7))
    assert not alike(answer(), answer(score=0.5 + 1e-4))
    assert not alike(answer(), answer(label="tulip"))
    assert not alike(answer(), answer(num_predictions=2))
    assert not alike(answer().predictions, [pb.Prediction()])
