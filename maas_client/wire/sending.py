"""Send a version to the registry: what is said of it, then those of its blobs that the store lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from maas.model_store.v1 import model_store_pb2, model_store_pb2_grpc

from maas_client.wire.request_streams import sent

Header = model_store_pb2.PublishModelVersionRequest.Header


def send(
    registry: model_store_pb2_grpc.ModelStoreServiceStub,
    header: Header,
    sizes: Mapping[str, int],
    chunks: Callable[[str], Iterable[bytes]],
    on_sent: Callable[[int], object] = lambda _: None,
) -> model_store_pb2.ModelVersion:
    """Publish a version; `sizes` are those of its blobs by digest, of which only what the store lacks is sent.

    `on_sent` is told of bytes sent, and of those that need not be. Sending again after a failure goes on from there.
    """
    request = model_store_pb2.FindMissingBlobsRequest(digests=list(sizes))
    missing = registry.FindMissingBlobs(request).missing_digests
    on_sent(sum(sizes[digest] for digest in sizes.keys() - set(missing)))
    return sent(registry.PublishModelVersion, _messages(header, missing, chunks, on_sent))


def _messages(
    header: Header,
    missing: Iterable[str],
    chunks: Callable[[str], Iterable[bytes]],
    on_sent: Callable[[int], object],
) -> Iterator[model_store_pb2.PublishModelVersionRequest]:
    yield model_store_pb2.PublishModelVersionRequest(header=header)
    for digest in missing:
        for data in chunks(digest):
            chunk = model_store_pb2.PublishModelVersionRequest.BlobChunk(digest=digest, data=data)
            yield model_store_pb2.PublishModelVersionRequest(blob_chunk=chunk)
            on_sent(len(data))
