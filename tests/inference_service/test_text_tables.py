"""Rows of a table with a text over gRPC: answers, one encoder in memory for all versions that begin with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from maas.inference.v1 import inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2 as open_pb
from maas.open_inference.v2 import open_inference_pb2_grpc

from maas_client.modalities.table import example_of
from model_store.architectures import HEAD, Chain, Head, build, initialise_head
from model_store.bases.tables import load_table_text
from model_store.calibration import batch_of
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import prepared
from model_store.registry.models import ModelStore
from model_store.tasks import Classification
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from tests.inference_service.inferring import arrays
from tests.inference_service.making import open_registry
from tests.inference_service.running import RunningService, running_service
from tests.model_store.text_models import text_base
from tests.model_store.text_tables import ROWS, SPEC

ENCODER = text_base(labels=("farm", "sea"))
LABELS = ("basic", "other", "pro")
SEEDS = (1, 2)


def encoder_manifest(store: ModelStore) -> Manifest:
    """Store the encoder with its head and tokenizer, and return its manifest."""
    stored = write_stages(store.blobs, {name: ENCODER.chain.stage_tensors(name) for name in ENCODER.chain.stage_names})
    store.blobs.put(list(ENCODER.files))
    return ENCODER.manifest([ManifestStage(name, blob.digest) for name, blob in stored.items()])


def table_chain(seed: int) -> Chain:
    """Return the chain of a table's version, its head seeded."""
    base = load_table_text(SPEC, [0], ENCODER.manifest([ManifestStage(n, "0" * 64) for n in ENCODER.chain.stage_names]))
    chain = build(base.architecture, base.arguments, Head("linear", len(LABELS)))
    for name, _ in chain.backbone:
        made = ENCODER.chain if name in base.stored else base.chain
        chain.load_stage(name, made.stage_tensors(name))
    initialise_head(chain, seed)
    return chain.eval()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an encoder for texts, and two versions of tables over it."""
    home = tmp_path_factory.mktemp("home")
    store = open_registry(home).store
    encoder = encoder_manifest(store)
    store.publish(Publication("topics", encoder, alias="production"))
    base = load_table_text(SPEC, [0], encoder)
    for seed in SEEDS:
        chain = table_chain(seed)
        own = [name for name in chain.stage_names if name not in base.stored]
        stored = write_stages(store.blobs, {name: chain.stage_tensors(name) for name in own})
        digests = {**base.stored, **{name: blob.digest for name, blob in stored.items()}}
        manifest = base.manifest([ManifestStage(name, digests[name]) for name in chain.stage_names])
        manifest = replace(manifest, task=Classification(LABELS), head=Head("linear", len(LABELS)).to_json())
        store.publish(Publication(f"tickets-{seed}", manifest, alias="production"))
    return home


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """A service with all of them."""
    with running_service(home) as running:
        running.await_serving()
        yield running


def by_hand(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores and embeddings of the chain, one row at a time."""
    chain = table_chain(seed)
    rows = [SPEC.to_input(batch_of(prepared(SPEC, [row], 100), torch.device("cpu"))) for row in ROWS]
    with torch.inference_mode():
        scores = torch.cat([chain(each) for each in rows]).softmax(dim=1)
        return scores, torch.cat([chain.embed(each) for each in rows])


def examples() -> list[pb.Example]:
    """Return the rows as the client sends them."""
    made = [example_of(row) for row in ROWS]
    return [each for each in made if each is not None]


@pytest.mark.parametrize("seed", SEEDS)
def test_predict_and_embed_equal_the_chain_run_by_hand(service: RunningService, seed: int) -> None:
    """Of raw rows, whose texts have several lengths, one of them missing."""
    scores, embeddings = by_hand(seed)
    request = pb.PredictRequest(name=f"models/tickets-{seed}", examples=examples())
    predictions = service.stub.Predict(request, timeout=20).predictions
    found = [{each.label: each.score for each in one.classification.scores} for one in predictions]
    np.testing.assert_allclose([[each[label] for label in LABELS] for each in found], scores, atol=1e-5)
    answer = service.stub.Embed(pb.EmbedRequest(name=f"models/tickets-{seed}", examples=examples()), timeout=20)
    np.testing.assert_allclose([each.values for each in answer.embeddings], embeddings, atol=1e-5)


def test_the_encoder_is_in_memory_once(service: RunningService) -> None:
    """For versions of tables and for that of texts: all but the preprocessing and a head is shared."""
    (report,) = service.state("tickets-1").versions
    encoder_bytes = sum(
        tensor.nbytes
        for name in ENCODER.chain.stage_names
        if name != HEAD
        for tensor in ENCODER.chain.stage_tensors(name).values()
    )
    assert report.shared_bytes >= encoder_bytes > 0.9 * report.resident_bytes
    (text,) = service.state("topics").versions
    assert text.shared_bytes == encoder_bytes
    answer = service.stub.Predict(
        pb.PredictRequest(name="models/topics", examples=[pb.Example(text="ships sail")]), timeout=20
    )
    assert len(answer.predictions) == 1


def test_open_inference_takes_a_tensor_for_each_column(service: RunningService) -> None:
    """Numbers as FP32, texts as BYTES; NaN and empty texts are missing."""
    stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(service.channel)
    metadata = stub.ModelMetadata(open_pb.ModelMetadataRequest(name="tickets-1"), timeout=20)
    assert [(each.name, each.datatype) for each in metadata.inputs] == [
        ("price", "FP32"), ("body", "BYTES"), ("plan", "BYTES"), ("since", "BYTES"),
    ]  # fmt: skip
    numbers = [float(str(row["price"])) if row.get("price") is not None else float("nan") for row in ROWS]
    tensors = [
        open_pb.ModelInferRequest.InferInputTensor(
            name="price", datatype="FP32", shape=[3, 1], contents=open_pb.InferTensorContents(fp32_contents=numbers)
        )
    ]
    for name in ("body", "plan", "since"):
        texts = open_pb.InferTensorContents(bytes_contents=[str(row.get(name, "")).encode() for row in ROWS])
        tensors.append(
            open_pb.ModelInferRequest.InferInputTensor(name=name, datatype="BYTES", shape=[3, 1], contents=texts)
        )
    answer = stub.ModelInfer(open_pb.ModelInferRequest(model_name="tickets-1", inputs=tensors), timeout=20)
    np.testing.assert_allclose(arrays(answer)["SCORES"], by_hand(1)[0], atol=1e-5)
    tensors[1].contents.bytes_contents[2] = b"\xff"
    with pytest.raises(grpc.RpcError, match="column 'body' must be texts in UTF-8"):
        stub.ModelInfer(open_pb.ModelInferRequest(model_name="tickets-1", inputs=tensors), timeout=20)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"body": "a\0b"}, "column 'body' has"),
        ({"body": "x" * 1_000_001}, "column 'body' 1000001 characters are over the limit"),
        ({"price": "dear"}, "column 'price' must be a finite number"),
        ({"text": "ships"}, "has a column 'text' that the version lacks"),
    ],
)
def test_a_wrong_cell_is_refused_by_its_column(service: RunningService, cells: dict[str, object], told: str) -> None:
    """And by the example of the request."""
    wrong = example_of(cells)
    assert wrong is not None
    request = pb.PredictRequest(name="models/tickets-1", examples=[*examples(), wrong])
    with pytest.raises(grpc.RpcError) as caught:
        service.stub.Predict(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "examples[3].row" in (caught.value.details() or "")
    assert told in (caught.value.details() or "")
