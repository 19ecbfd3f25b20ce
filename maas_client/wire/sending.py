"""Send a version to the registry: what is said of it, then those of its blobs that the store lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import grpc
from maas.model_store.v1 import model_store_pb2, model_store_pb2_grpc

from maas_client.wire.request_streams import sent
from maas_client.wire.retrying import Progress, Retries

Header = model_store_pb2.PublishModelVersionRequest.Header


def send(
    registry: model_store_pb2_grpc.ModelStoreServiceStub,
    retries: Retries,
    header: Header,
    sizes: Mapping[str, int],
    chunks: Callable[[str], Iterable[bytes]],
    on_sent: Callable[[int], object] = lambda _: None,
) -> model_store_pb2.ModelVersion:
    """Publish a version; `sizes` are those of its blobs by digest, of which only what the store lacks is sent.

    After a broken connection it goes on with the blobs that the store then lacks: one that did not arrive whole is sent
    anew. The header must have a request id, by which a version that was published already is the answer. `on_sent` is
    told of bytes sent, and of those that need not be, each once.
    """
    progress, request = Progress(on_sent), model_store_pb2.FindMissingBlobsRequest(digests=list(sizes))
    while True:
        try:
            missing = registry.FindMissingBlobs(request).missing_digests
            known = sum(sizes[digest] for digest in sizes.keys() - set(missing))
            retries.note(known)
            progress.reach(known)
            return sent(registry.PublishModelVersion, _messages(header, missing, chunks, known, progress))
        except grpc.RpcError as error:
            if not retries.wait(error):
                raise


def _messages(
    header: Header,
    missing: Iterable[str],
    chunks: Callable[[str], Iterable[bytes]],
    position: int,
    progress: Progress,
) -> Iterator[model_store_pb2.PublishModelVersionRequest]:
    yield model_store_pb2.PublishModelVersionRequest(header=header)
    for digest in missing:
        for data in chunks(digest):
            chunk = model_store_pb2.PublishModelVersionRequest.BlobChunk(digest=digest, data=data)
            yield model_store_pb2.PublishModelVersionRequest(blob_chunk=chunk)
            position += len(data)
            progress.reach(position)
