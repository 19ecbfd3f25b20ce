"""The whole service over gRPC: answers, refusals, health, reflection and watches."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from maas.inference.v1 import inference_pb2 as pb
from PIL import Image

from tests.answers import alike
from tests.inference_service.making import LABELS, Recipe, Registry, expected, open_registry, photo, pixels
from tests.inference_service.running import RunningService, predict_request, refused, refused_fields, running_service
from tests.odd_images import PALETTE_WITHOUT_COLOURS

PROBE, BASE, BIRDS = Recipe(head=1), Recipe(head=None), Recipe(head=2, labels=("crow", "owl"))
SERVICE = "maas.inference.v1.InferenceService"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a base, and two models that were fine-tuned from it."""
    home = tmp_path_factory.mktemp("home")
    registry = open_registry(home)
    registry.publish(BASE, model_id="base", alias=None)
    registry.publish(PROBE, model_id="flowers", alias="production")
    registry.publish(BIRDS, model_id="birds", alias=None)
    with running_service(home, max_examples_per_request=8) as running:
        running.await_serving()
        yield running


def raw(height: int, width: int, data: bytes) -> pb.Example:
    """Return an image of raw pixels."""
    return pb.Example(pixels=pb.Pixels(height=height, width=width, data=data))


def by_label(prediction: pb.Prediction, labels: tuple[str, ...]) -> list[float]:
    """Return a prediction's scores in the order of the labels."""
    scores = {each.label: each.score for each in prediction.classification.scores}
    return [scores[label] for label in labels]


@pytest.mark.parametrize("name", ["models/flowers", "models/flowers/aliases/production", "models/flowers/versions/1"])
def test_predict_equals_the_chain_run_by_hand(service: RunningService, name: str) -> None:
    """Several photos in several formats at once; the answer names the version."""
    photos = [photo(1), photo(2, (200, 80), "JPEG"), photo(3, (64, 64), "BMP")]
    answer = service.predict(name, *photos)
    scores, _ = expected(PROBE, [pixels(each) for each in photos])
    assert answer.version == "models/flowers/versions/1"
    for prediction, row in zip(answer.predictions, scores, strict=True):
        np.testing.assert_allclose(by_label(prediction, LABELS), row, atol=1e-5)
        best_first = [each.score for each in prediction.classification.scores]
        assert best_first == sorted(best_first, reverse=True)


def test_embed_equals_the_chain_run_by_hand(service: RunningService) -> None:
    """A fine-tune and its base give the same embedding, as they have the same backbone."""
    _, embeddings = expected(BASE, [pixels(photo(1)), pixels(photo(2))])
    for name in ("models/base", "models/flowers"):
        answer = service.embed(name, photo(1), photo(2))
        assert answer.version == f"{name}/versions/1"
        np.testing.assert_allclose([each.values for each in answer.embeddings], embeddings, atol=1e-5)


def test_raw_pixels_are_read_as_an_image_of_that_size(service: RunningService) -> None:
    """The same pixels, encoded and raw, give the same answer."""
    image = Image.open(io.BytesIO(photo(4)))
    request = pb.PredictRequest(name="models/flowers", examples=[raw(image.height, image.width, image.tobytes())])
    assert alike(service.stub.Predict(request), service.predict("models/flowers", photo(4)))


def test_top_k_limits_the_labels(service: RunningService) -> None:
    """The best ones are returned, best first; 0 means all of three."""
    everything = service.predict("models/flowers", photo(1)).predictions[0].classification.scores
    assert len(everything) == 3
    best = service.predict("models/flowers", photo(1), top_k=2).predictions[0].classification.scores
    assert alike(best, everything[:2])


def test_a_request_larger_than_a_batch_is_answered_in_order(tmp_path: Path, registry: Registry) -> None:
    """Five photos through batches of two."""
    registry.publish(PROBE)
    with running_service(tmp_path, max_batch_cost="image=2") as service:
        service.await_serving()
        photos = [photo(seed) for seed in range(5)]
        scores, _ = expected(PROBE, [pixels(each) for each in photos])
        answer = service.predict("models/flowers", *photos)
        np.testing.assert_allclose([by_label(each, LABELS) for each in answer.predictions], scores, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "field"),
    [
        (pb.Example(), "examples[1]"),
        (pb.Example(file=b""), "examples[1].file"),
        (pb.Example(file=b"no image"), "examples[1].file"),
        (pb.Example(file=photo(1)[:-200]), "examples[1].file"),
        (pb.Example(file=photo(1, (1100, 1000))), "examples[1].file"),
        (pb.Example(file=PALETTE_WITHOUT_COLOURS), "examples[1].file"),
        (raw(2, 2, bytes(11)), "examples[1].pixels.data"),
        (raw(0, 2, b""), "examples[1].pixels.height"),
        (raw(2, -1, b""), "examples[1].pixels.width"),
        (raw(1100, 1000, bytes(3_300_000)), "examples[1].pixels"),
        (raw(1, 1000, bytes(3000)), "examples[1].pixels"),
    ],
    ids=[
        "missing",
        "empty",
        "text",
        "truncated",
        "too-large",
        "no-palette",
        "size",
        "height",
        "width",
        "too-many-pixels",
        "a-line",
    ],
)
def test_a_bad_image_is_named(service: RunningService, image: pb.Example, field: str) -> None:
    """Predict and Embed refuse it by its place in the request, and the service goes on."""
    images = [pb.Example(file=photo(1)), image]
    with refused_fields(field):
        service.stub.Predict(pb.PredictRequest(name="models/flowers", examples=images))
    with refused_fields(field):
        service.stub.Embed(pb.EmbedRequest(name="models/flowers", examples=images))
    assert service.predict("models/flowers", photo(1)).predictions


def test_every_bad_image_is_named(service: RunningService) -> None:
    """One answer lists all that must be changed."""
    with refused_fields("examples[0].file", "examples[2].file"):
        service.predict("models/flowers", b"x", photo(1), b"y")


@pytest.mark.parametrize("num_images", [0, 9])
def test_too_few_or_too_many_images_are_refused(service: RunningService, num_images: int) -> None:
    """One at least; at most what the operator allows."""
    with refused_fields("examples"):
        service.predict("models/flowers", *[photo(1)] * num_images)


def test_a_negative_top_k_is_refused(service: RunningService) -> None:
    """The field is named."""
    with refused_fields("top_k"):
        service.predict("models/flowers", photo(1), top_k=-1)


def test_a_top_k_beyond_the_labels_means_all_of_them(service: RunningService) -> None:
    """There are three labels."""
    assert len(service.predict("models/flowers", photo(1), top_k=100).predictions[0].classification.scores) == 3


@pytest.mark.parametrize("name", ["", "flowers", "models/Flowers", "models/flowers/versions/0", "models/../x"])
def test_a_name_that_is_none_is_refused(service: RunningService, name: str) -> None:
    """The grammar is told in the message."""
    with refused_fields("name"):
        service.predict(name, photo(1))
    with refused_fields("name"):
        service.stub.GetServedModel(pb.GetServedModelRequest(name=name))


@pytest.mark.parametrize("name", ["models/cars", "models/flowers/versions/7", "models/flowers/aliases/canary"])
def test_a_name_that_nothing_answers_to_is_not_found(service: RunningService, name: str) -> None:
    """The name is in the message."""
    with refused(grpc.StatusCode.NOT_FOUND, name):
        service.predict(name, photo(1))


def test_a_backbone_has_no_labels(service: RunningService) -> None:
    """The message says what can be done with it."""
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "call Embed"):
        service.predict("models/base", photo(1))


def test_the_state_shows_what_is_shared(service: RunningService) -> None:
    """A fine-tune's backbone is in memory once."""
    state = service.state("flowers")
    (report,) = state.versions
    assert (state.name, report.name, report.state) == (
        "models/flowers",
        "models/flowers/versions/1",
        pb.VERSION_STATE_READY,
    )
    assert 0 < report.resident_bytes - report.shared_bytes < 0.01 * report.resident_bytes
    assert report.load_duration.ToNanoseconds() > 0
    assert report.update_time.seconds > 0
    assert [(each.name, each.version, each.wanted_version) for each in state.aliases] == [
        ("models/flowers/aliases/production", "models/flowers/versions/1", "models/flowers/versions/1")
    ]
    assert state.default_version == "models/flowers/versions/1"
    with refused(grpc.StatusCode.NOT_FOUND, "models/cars"):
        service.state("cars")


def test_models_are_listed_in_pages(service: RunningService) -> None:
    """By id, each once; a token of another listing is refused."""
    names, token = [], ""
    while True:
        page = service.stub.ListServedModels(pb.ListServedModelsRequest(page_size=2, page_token=token))
        names.append([each.name for each in page.served_models])
        token = page.next_page_token
        if not token:
            break
    assert names == [["models/base", "models/birds"], ["models/flowers"]]
    with refused_fields("page_token"):
        service.stub.ListServedModels(pb.ListServedModelsRequest(page_token="nonsense"))  # noqa: S106  no password
    with refused_fields("page_size"):
        service.stub.ListServedModels(pb.ListServedModelsRequest(page_size=-1))


def test_health_and_reflection_know_the_service(service: RunningService) -> None:
    """As grpcurl and orchestrators ask for them."""
    health = health_pb2_grpc.HealthStub(service.channel)
    for name in ("", SERVICE):
        answer = health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(service.channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    listed = next(reflection.ServerReflectionInfo(requests)).list_services_response.service
    assert SERVICE in {each.name for each in listed}


def test_an_empty_registry_is_served_too(tmp_path: Path) -> None:
    """Health is SERVING with nothing to load, and a first model needs no restart."""
    with running_service(tmp_path) as service:
        service.await_serving()
        version = open_registry(tmp_path).publish(PROBE)
        service.await_state(version.name, pb.VERSION_STATE_READY)
        assert service.predict("models/flowers", photo(1)).version == str(version.name)


def test_a_watch_tells_every_model_first_and_then_the_changes(tmp_path: Path, registry: Registry) -> None:
    """The stream of one model is silent about the others, and both end with the service."""
    registry.publish(PROBE)
    registry.publish(BIRDS, model_id="birds")
    with running_service(tmp_path) as service:
        service.await_serving()
        everything = service.stub.WatchServedModels(pb.WatchServedModelsRequest())
        flowers = service.stub.WatchServedModels(pb.WatchServedModelsRequest(name="models/flowers"))
        assert {next(everything).name, next(everything).name} == {"models/birds", "models/flowers"}
        assert next(flowers).name == "models/flowers"
        registry.publish(BIRDS, model_id="birds")
        assert next(everything).name == "models/birds"
        registry.publish(PROBE)
        assert next(flowers).name == "models/flowers"
        service.stop()
        assert {each.name for each in flowers} <= {"models/flowers"}
        assert flowers.code() is grpc.StatusCode.OK


def test_a_model_can_be_watched_before_it_exists(service: RunningService) -> None:
    """Its state has no versions until then."""
    watch = service.stub.WatchServedModels(pb.WatchServedModelsRequest(name="models/cars"))
    assert next(watch) == pb.ServedModel(name="models/cars")
    watch.cancel()


def test_a_deadline_that_has_passed_is_told(service: RunningService) -> None:
    """Whoever notices first, the caller or the service."""
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        service.stub.Predict(predict_request("models/flowers", photo(1)), timeout=1e-6)
