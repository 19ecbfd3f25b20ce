"""Text models over gRPC: answers, embeddings, the Open Inference Protocol, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import torch
from maas.inference.v1 import inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2 as open_pb
from maas.open_inference.v2 import open_inference_pb2_grpc

from model_store.calibration import batch_of
from model_store.manifests import ManifestStage
from model_store.modalities import prepared
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from tests.inference_service.inferring import arrays
from tests.inference_service.making import open_registry
from tests.inference_service.running import RunningService, running_service
from tests.model_store.text_models import TOPICS, text_base

BASE = text_base(labels=("farm", "sea"))
TEXTS = [text for topic in TOPICS.values() for text in topic]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with one text model."""
    home = tmp_path_factory.mktemp("home")
    publish(open_registry(home).store)
    with running_service(home) as running:
        running.await_serving()
        yield running


def publish(store: ModelStore) -> None:
    """Publish the model with its tokenizer."""
    stored = write_stages(store.blobs, {name: BASE.chain.stage_tensors(name) for name in BASE.chain.stage_names})
    for data in BASE.files:
        store.blobs.put([data])
    manifest = BASE.manifest([ManifestStage(name, blob.digest) for name, blob in stored.items()])
    store.publish(Publication("topics", manifest, alias="production"))


def by_hand(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores and embeddings of the chain, one text at a time."""
    spec = BASE.input_spec
    rows = [batch_of(prepared(spec, [text], 1000), torch.device("cpu")) for text in texts]
    with torch.inference_mode():
        logits = torch.cat([BASE.chain(spec.to_input(each)) for each in rows])
        return logits.softmax(dim=1), torch.cat([BASE.chain.embed(spec.to_input(each)) for each in rows])


def predict(service: RunningService, *texts: str) -> pb.PredictResponse:
    """Classify texts."""
    request = pb.PredictRequest(name="models/topics", examples=[pb.Example(text=text) for text in texts])
    return service.stub.Predict(request, timeout=20)


def test_predict_equals_the_chain_run_by_hand(service: RunningService) -> None:
    """Texts of several lengths in one request are padded together, and answered as each by itself."""
    wanted, _ = by_hand(TEXTS)
    for prediction, row in zip(predict(service, *TEXTS).predictions, wanted, strict=True):
        scores = {each.label: each.score for each in prediction.classification.scores}
        np.testing.assert_allclose([scores["farm"], scores["sea"]], row, atol=1e-5)


def test_embed_equals_the_chain_run_by_hand(service: RunningService) -> None:
    """The embedding is the pooled output, of a file in UTF-8 too."""
    examples = [pb.Example(text=TEXTS[0]), pb.Example(file=TEXTS[1].encode())]
    answer = service.stub.Embed(pb.EmbedRequest(name="models/topics", examples=examples), timeout=20)
    np.testing.assert_allclose([each.values for each in answer.embeddings], by_hand(TEXTS[:2])[1], atol=1e-5)


def test_open_inference_takes_texts(service: RunningService) -> None:
    """A tensor of strings, in the message's own list."""
    stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(service.channel)
    contents = open_pb.InferTensorContents(bytes_contents=[text.encode() for text in TEXTS])
    tensor = open_pb.ModelInferRequest.InferInputTensor(
        name="TEXT", datatype="BYTES", shape=[len(TEXTS)], contents=contents
    )
    answer = stub.ModelInfer(open_pb.ModelInferRequest(model_name="topics", inputs=[tensor]), timeout=20)
    np.testing.assert_allclose(arrays(answer)["SCORES"], by_hand(TEXTS)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("example", "told"),
    [
        (pb.Example(text=""), "is empty"),
        (pb.Example(text="a\x00b"), "at character 1"),
        (pb.Example(text="word " * 250_000), "over the limit of 1000000"),
        (pb.Example(file=b"\xff\xfe"), "UTF-8"),
        (pb.Example(values=pb.Values(numbers=[1, 2])), "must be a text"),
    ],
)
def test_what_is_no_text_is_refused(service: RunningService, example: pb.Example, told: str) -> None:
    """The field of the request is named, and the next request is answered."""
    request = pb.PredictRequest(name="models/topics", examples=[pb.Example(text="ships"), example])
    with pytest.raises(grpc.RpcError) as caught:
        service.stub.Predict(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    told_all = caught.value.details() or ""
    assert f"examples[1].{example.WhichOneof('content')}" in told_all
    assert told in told_all
    assert len(predict(service, "ships").predictions) == 1
