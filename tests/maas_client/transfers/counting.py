"""The metrics of an exported version, and a count of the bytes that its import sends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.client import Client

METRICS = pb.Metrics(
    split="test",
    row_count=3,
    values={"accuracy": 2 / 3},
    intervals={"accuracy": pb.Interval(low=0.3, high=1.0)},
    classification=pb.ClassificationDetail(confusion_matrix=[pb.ConfusionRow(counts=[2, 1])], temperature=1.5),
)


@dataclass
class Counted:
    """A client's publications, and the bytes of blobs that they sent."""

    client: Client
    sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        call = self.client.stubs.registry.PublishModelVersion

        def publish(messages: Iterator[pb.PublishModelVersionRequest]) -> pb.ModelVersion:
            self.sent.append(0)
            return call(self._counted(messages))

        self.client.stubs.registry.PublishModelVersion = publish

    def _counted(self, messages: Iterator[pb.PublishModelVersionRequest]) -> Iterator[pb.PublishModelVersionRequest]:
        for message in messages:
            self.sent[-1] += len(message.blob_chunk.data)
            yield message
