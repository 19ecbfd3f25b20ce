"""The response cache: equal requests to one version run once, within a bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from maas.inference.v1 import inference_pb2
from maas.open_inference.v2 import open_inference_pb2 as pb

from inference_service.execution.work import Output
from inference_service.models.resident import ResidentVersion
from inference_service.pipeline.examples import Examples
from inference_service.pipeline.response_cache import ResponseCache, cache_key
from model_store.modalities import Rows, X
from model_store.modalities.image.spec import PIXELS
from tests.inference_service.inferring import described, packed, serving_models
from tests.inference_service.making import Recipe, open_registry, photo, pixels

SCORES = frozenset({Output.SCORES})
Load = Callable[..., ResidentVersion]


def images(*encoded: bytes) -> Examples:
    """Wrap encoded images."""
    return Examples(encoded, str)


def test_what_must_differ_has_another_key(load: Load) -> None:
    """Another version, output, image, form of an image, or split of the same bytes into images."""
    one, two = load(Recipe(head=1), 1), load(Recipe(head=2), 2)
    row = Rows({PIXELS: pixels(photo(1))[None]}, 1)
    numbers = row.arrays[PIXELS].astype(np.float32)
    asked = [
        (one, images(b"ab", b"c"), SCORES),
        (one, images(b"a", b"bc"), SCORES),
        (one, images(b"abc"), SCORES),
        (two, images(b"abc"), SCORES),
        (one, images(b"abc"), frozenset(Output)),
        (one, row, SCORES),
        (one, Examples([row.arrays[PIXELS][0]], str), SCORES),
        (one, Examples(["abc"], str), SCORES),
        (one, Rows({PIXELS: numbers}, 1), SCORES),
        (one, Rows({X: numbers}, 1), SCORES),
        (one, Rows({PIXELS: row.arrays[PIXELS].reshape(1, 3, 64, 64)}, 1), SCORES),
    ]
    keys = [cache_key(*each) for each in asked]
    assert len(set(keys)) == len(keys)
    assert [cache_key(*each) for each in asked] == keys


def test_what_was_not_used_for_the_longest_time_is_forgotten() -> None:
    """An answer that is asked for stays; one that is larger than the cache is not kept at all."""
    answer = {Output.SCORES: np.zeros((10, 10), np.float32)}
    cache = ResponseCache(3 * (400 + 500))
    for key in (b"1", b"2", b"3"):
        cache.add(key, answer)
    assert cache.find(b"1") is not None
    cache.add(b"4", answer)
    assert [cache.find(key) is not None for key in (b"1", b"2", b"3", b"4")] == [True, False, True, True]
    cache.add(b"5", {Output.SCORES: np.zeros((100, 10), np.float32)})
    assert [cache.find(key) is not None for key in (b"1", b"3", b"4", b"5")] == [True, True, True, False]


def test_an_answer_does_not_keep_its_batch() -> None:
    """What is remembered is a copy: the batch that it was a view of can go."""
    batch = np.arange(6, dtype=np.float32).reshape(3, 2)
    cache = ResponseCache(10_000)
    cache.add(b"key", {Output.SCORES: batch[1:2]})
    batch[:] = 0
    kept = cache.find(b"key")
    assert kept is not None
    assert kept[Output.SCORES].base is None
    assert kept[Output.SCORES].tolist() == [[2.0, 3.0]]


def test_equal_requests_run_once_and_a_new_version_answers_anew(tmp_path: Path) -> None:
    """Hits and misses are counted as Triton counts them; both protocols and errors go on as before."""
    with serving_models(tmp_path, response_cache_mb=1) as service:

        def scores() -> bytes:
            answer = service.infer("flowers", described("IMAGE", "BYTES", 1), raw=[packed(photo(1))])
            return answer.raw_output_contents[0]

        first = scores()
        assert scores() == first
        assert service.running.predict("models/flowers", photo(1)) == service.running.predict(
            "models/flowers", photo(1)
        )
        (told,) = service.stub.ModelStatistics(pb.ModelStatisticsRequest(name="flowers")).model_stats
        stats = told.inference_stats
        assert (stats.cache_hit.count, stats.cache_miss.count, stats.success.count) == (2, 2, 4)
        assert (told.inference_count, told.execution_count) == (2, 2)
        version = open_registry(tmp_path).publish(Recipe(head=7))
        service.running.await_state(version.name, inference_pb2.VERSION_STATE_READY)
        assert scores() != first
