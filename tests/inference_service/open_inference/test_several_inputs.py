"""Requests of several tensors, whole numbers among them: a modality of the tests' own, whose first stage reads two."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import pytest
import torch
from maas.inference.v1 import inference_pb2
from maas.open_inference.v2 import open_inference_pb2 as pb
from maas.open_inference.v2 import open_inference_pb2_grpc
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store.architectures import Chain, Head, registry
from model_store.errors import InvalidExample
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import INPUT_SPECS, LIMITS, Batch, Limits, Rows, TensorForm
from model_store.modalities.spec import Array, concatenated_rows
from model_store.tasks import Classification
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from tests.inference_service.inferring import OpenService, arrays, assert_same_outputs, described, packed, request
from tests.inference_service.making import open_registry
from tests.inference_service.running import refused, refused_fields, running_service

SIZE, NUM_WORDS = 4, 10
LABELS = ("rose", "tulip")
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@dataclass(frozen=True)
class BagInputSpec:
    """Words by number, each with a weight: `IDS` and `WEIGHTS`, or both as a text such as `3:0.5 7:1 0:0 0:0`."""

    size: int
    kind: str = "bag"
    unit: str = "words"

    @property
    def rows_key(self) -> Hashable:
        return self

    @property
    def device_key(self) -> Hashable:
        """The whole spec."""
        return self

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**values)

    def open(self, example: object, max_size: int) -> OpenedBag:
        if not isinstance(example, bytes):
            raise InvalidExample("must be a text of words")
        pairs = [each.split(b":") for each in example.split()]
        if not len(pairs) == self.size <= max_size:
            raise InvalidExample(f"must have {self.size} words, not {len(pairs)}")
        return OpenedBag([int(word) for word, _ in pairs], [float(weight) for _, weight in pairs])

    def form(self, rows: Rows) -> Hashable:
        return rows.form

    def cost(self, _: Rows) -> int:
        return 1

    def collate(self, rows: Sequence[Rows]) -> Rows:
        return concatenated_rows(rows)

    def to_input(self, batch: Batch) -> Batch:
        return batch

    def blank(self) -> Rows:
        return bag_rows(np.zeros((1, self.size), np.int64), np.zeros((1, self.size), np.float32))

    def tensors(self) -> tuple[TensorForm, ...]:
        return (
            TensorForm("IDS", "int64", (self.size,)),
            TensorForm("WEIGHTS", "float32", (self.size,)),
            TensorForm("WORDS", "bytes", (), alternative=1),
        )

    def read_tensors(self, tensors: Mapping[str, Array]) -> Rows | Sequence[object]:
        if "WORDS" in tensors:
            return list(tensors["WORDS"])
        if not ((tensors["IDS"] >= 0) & (tensors["IDS"] < NUM_WORDS)).all():
            raise InvalidExample(f"words must be 0 to {NUM_WORDS - 1}")
        return bag_rows(tensors["IDS"], tensors["WEIGHTS"])

    def to_blob(self, rows: Rows) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array) for name, array in rows.arrays.items()}

    def from_blob(self, tensors: Mapping[str, Tensor]) -> Rows:
        return bag_rows(tensors["ids"].numpy(), tensors["weights"].numpy())


@dataclass(frozen=True)
class OpenedBag:
    """A text that was split."""

    words: list[int]
    weights: list[float]

    @property
    def size(self) -> int:
        return len(self.words)

    def prepare(self) -> Rows:
        return bag_rows(np.array([self.words], np.int64), np.array([self.weights], np.float32))


def bag_rows(ids: NDArray[np.int64], weights: NDArray[np.float32]) -> Rows:
    """Return rows of both tensors."""
    return Rows({"ids": ids, "weights": weights}, len(ids))


class Bag(nn.Module):
    """The weighted sum of the words' vectors; the ids stay whole numbers whatever the precision."""

    reads = ("ids", "weights")

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(NUM_WORDS, 3)

    def forward(self, ids: Tensor, weights: Tensor) -> Tensor:
        assert ids.dtype == torch.int64
        summed: Tensor = (self.table(ids) * weights.unsqueeze(-1)).sum(dim=1)
        return summed


def build_bag(_: Mapping[str, Any], head: Head) -> Chain:
    """Build the architecture."""
    return Chain([("bag", Bag()), ("head", [("linear", nn.Linear(3, head.outputs))])], 3)


CHAIN = build_bag({}, Head("linear", len(LABELS))).eval().requires_grad_(requires_grad=False)
IDS = np.random.default_rng(0).integers(0, NUM_WORDS, (5, SIZE))
WEIGHTS = np.random.default_rng(1).random((5, SIZE), np.float32)
BOTH = [described("IDS", "INT64", *IDS.shape), described("WEIGHTS", "FP32", *WEIGHTS.shape)]
RAW = [IDS.tobytes(), WEIGHTS.tobytes()]
WORDS = [
    " ".join(f"{word}:{weight}" for word, weight in zip(*row, strict=True)).encode()
    for row in zip(IDS.tolist(), WEIGHTS.tolist(), strict=True)
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenService]:
    """A service that knows the modality and the architecture, and serves a model of them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(INPUT_SPECS, "bag", BagInputSpec.from_json)  # type: ignore[arg-type]
        patch.setitem(LIMITS, "bag", Limits(example=100, request=1000, batch_cost=32, queue_cost=1024))  # type: ignore[arg-type]
        patch.setitem(registry._BUILDERS, "bag", build_bag)
        publish(home)
        with running_service(home, max_examples_per_request=8) as running:
            running.await_serving()
            yield OpenService(home, running, open_inference_pb2_grpc.GRPCInferenceServiceStub(running.channel))


def publish(home: Path) -> None:
    """Publish the chain as the model `bags`."""
    store = open_registry(home).store
    stored = write_stages(store.blobs, {name: CHAIN.stage_tensors(name) for name in CHAIN.stage_names})
    stages = tuple(ManifestStage(name, blob.digest) for name, blob in stored.items())
    spec, head = BagInputSpec(SIZE).to_json(), Head("linear", len(LABELS)).to_json()
    made = Manifest("bag", {}, stages, spec, Classification(LABELS), head, CHAIN.embedding_size)
    store.publish(Publication("bags", made, alias="production"))


def expected_logits(ids: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the chain by hand."""
    rows = {"ids": torch.from_numpy(ids), "weights": torch.from_numpy(weights)}
    with torch.inference_mode():
        return CHAIN(Batch(rows, len(ids))).numpy()


def test_two_tensors_of_a_request_reach_the_stage_that_reads_them(service: OpenService) -> None:
    """Raw or in typed lists, and in any order."""
    answer = service.infer("bags", *BOTH, raw=RAW)
    np.testing.assert_allclose(arrays(answer)["LOGITS"], expected_logits(IDS, WEIGHTS), atol=1e-6)
    assert_same_outputs(service.infer("bags", *reversed(BOTH), raw=RAW[::-1]), answer)
    typed = [
        described("IDS", "INT64", *IDS.shape, contents=pb.InferTensorContents(int64_contents=IDS.ravel())),
        described("WEIGHTS", "FP32", *IDS.shape, contents=pb.InferTensorContents(fp32_contents=WEIGHTS.ravel())),
    ]
    assert_same_outputs(service.infer("bags", *typed), answer)


def test_requests_of_several_tensors_share_batches(service: OpenService) -> None:
    """Each row keeps its own words and weights, however many requests run together."""

    def ask(row: int) -> NDArray[np.generic]:
        given = [described("IDS", "INT64", 1, SIZE), described("WEIGHTS", "FP32", 1, SIZE)]
        asked = request("bags", *given, raw=[IDS[row].tobytes(), WEIGHTS[row].tobytes()])
        return arrays(service.stub.ModelInfer(asked, timeout=20))["LOGITS"][0]

    rows = [number % len(IDS) for number in range(60)]
    with ThreadPoolExecutor(16) as threads:
        with service.busy_device():
            answers = [threads.submit(ask, row) for row in rows]
        found = [each.result() for each in answers]
    np.testing.assert_allclose(found, expected_logits(IDS, WEIGHTS)[rows], atol=1e-5)


def test_the_other_alternative_is_prepared_first(service: OpenService) -> None:
    """An encoded example gives the answer of its tensors, here and in Predict."""
    encoded = service.infer("bags", described("WORDS", "BYTES", len(WORDS)), raw=[packed(*WORDS)])
    np.testing.assert_allclose(arrays(encoded)["LOGITS"], expected_logits(IDS, WEIGHTS), atol=1e-6)
    predictions = service.running.predict("models/bags", *WORDS).predictions
    best = [LABELS[index] for index in expected_logits(IDS, WEIGHTS).argmax(axis=1)]
    assert [each.classification.scores[0].label for each in predictions] == best


@pytest.mark.parametrize(
    ("tensors", "raw", "text"),
    [
        (BOTH[:1], RAW[:1], "inputs: must be exactly one of IDS and WEIGHTS, WORDS, not 'IDS'"),
        ([*BOTH, BOTH[0]], [*RAW, RAW[0]], "not 'IDS, WEIGHTS, IDS'"),
        ([*BOTH, described("WORDS", "BYTES", 5)], [*RAW, packed(*WORDS)], "not 'IDS, WEIGHTS, WORDS'"),
        ([BOTH[0], described("WEIGHTS", "FP32", 4, SIZE)], [RAW[0], bytes(64)], "must have as many rows each"),
        ([described("IDS", "FP32", 5, SIZE), BOTH[1]], [bytes(80), RAW[1]], "inputs[0]: IDS must be INT64, not 'FP32'"),
        (BOTH, [IDS.tobytes()[:-8], RAW[1]], "inputs[0]: IDS must have 160 raw bytes for 5 x 4 of INT64, not 152"),
        (BOTH, [(IDS - 9).tobytes(), RAW[1]], "inputs[0]: IDS, WEIGHTS: words must be 0 to 9"),
        ([described("WORDS", "BYTES", 1)], [packed(b"1:1 2:2")], "inputs[0].WORDS[0]: must have 4 words, not 2"),
    ],
)
def test_tensors_that_do_not_go_together_are_explained(
    service: OpenService, tensors: list[Any], raw: list[bytes], text: str
) -> None:
    """Which inputs there are, what was expected and what was found."""
    with refused(INVALID, text):
        service.infer("bags", *tensors, raw=raw)


def test_a_list_of_another_type_is_refused(service: OpenService) -> None:
    """INT64 has a list of its own."""
    wrong = described("IDS", "INT64", 5, SIZE, contents=pb.InferTensorContents(int_contents=[0] * 20))
    right = described("WEIGHTS", "FP32", 5, SIZE, contents=pb.InferTensorContents(fp32_contents=WEIGHTS.ravel()))
    with refused(INVALID, "IDS is INT64, whose elements go into contents.int64_contents, not int_contents"):
        service.infer("bags", wrong, right)


def test_an_example_of_another_content_is_refused_by_the_spec(service: OpenService) -> None:
    """The service asks for no modality: the spec of the tests' own says what it takes."""
    example = inference_pb2.Example(values=inference_pb2.Values(numbers=[1, 2]))
    with refused_fields("examples[0].values"):
        service.running.stub.Predict(inference_pb2.PredictRequest(name="models/bags", examples=[example]))


def test_metadata_and_config_name_all_tensors_of_the_first_alternative(service: OpenService) -> None:
    """A tool that fills every input then sends a whole request; the other alternative is a parameter."""
    metadata = service.stub.ModelMetadata(pb.ModelMetadataRequest(name="bags"))
    told = [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs]
    assert told == [("IDS", "INT64", [-1, SIZE]), ("WEIGHTS", "FP32", [-1, SIZE])]
    config = service.stub.ModelConfig(pb.ModelConfigRequest(name="bags")).config
    assert [(each.name, each.data_type) for each in config.input] == [
        ("IDS", pb.TYPE_INT64),
        ("WEIGHTS", pb.TYPE_FP32),
    ]
    assert "WORDS" in config.parameters["alternative_inputs"].string_value
    (version,) = service.running.state("bags").versions
    assert [(each.name, each.alternative) for each in version.signature.inputs] == [
        ("IDS", 0),
        ("WEIGHTS", 0),
        ("WORDS", 1),
    ]
