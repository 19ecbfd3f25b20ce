"""A shadow passes by requests that it ran on, not by time alone."""

from __future__ import annotations

from maas.inference.v1 import inference_pb2

from model_store.names import AliasName, VersionName
from model_store.records.promotion import Verdict
from training_service.promotion.serving_state import Serving, is_shadow_finished, shadow_verdict

VERDICT = Verdict(True, "accuracy 0.9 on 50 test rows", 0.9)


def serving(num_rows: int, num_failed: int = 0) -> Serving:
    """Return a service in which the version is ready, and ran on so many rows."""
    made = Serving(1, "127.0.0.1:1", AliasName("flowers", "production"), VersionName("flowers", 2))
    made.is_ready = True
    made.shadow = inference_pb2.ServedShadow(row_count=num_rows, compared_count=num_rows, failed_count=num_failed)
    return made


def test_a_shadow_needs_a_least_number_of_rows() -> None:
    """Counted over all services; a failure needs no more of them."""
    few = [serving(40), serving(59)]
    assert not is_shadow_finished(few, 100)
    verdict = shadow_verdict(VERDICT, few, 100)
    assert not verdict.passes
    assert "ran on 99 rows as a shadow, and at least 100 are asked for" in verdict.reason
    enough = [*few, serving(1)]
    assert is_shadow_finished(enough, 100)
    assert shadow_verdict(VERDICT, enough, 100).passes
    assert is_shadow_finished([serving(0, num_failed=1)], 100)
    assert not shadow_verdict(VERDICT, [serving(0, num_failed=1)], 0).passes
    assert shadow_verdict(VERDICT, [serving(0)], 0).passes, "none was asked for"
