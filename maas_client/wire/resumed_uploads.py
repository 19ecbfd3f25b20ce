"""Uploads that go on where they stopped when the connection breaks, or when they are begun once more."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import grpc
from maas.training.v1 import training_pb2, training_pb2_grpc

from maas_client.wire.request_streams import sent
from maas_client.wire.retrying import Progress, Retries

Request = training_pb2.UploadDatasetRequest
# What a service answers that has not, or has not all, or has other bytes of what was sent before.
_BEGIN_ANEW = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


class ResumedUpload:
    """One archive on its way to the training service; `header.upload_id` is the same for the same archive."""

    def __init__(
        self,
        training: training_pb2_grpc.TrainingServiceStub,
        retries: Retries,
        header: Request.Header,
        chunks: Callable[[], Iterable[bytes]],
        on_sent: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Take what begins the archive anew, and what is told of bytes that have arrived or are sent, each once."""
        self._stub = training
        self._header = header
        self._chunks = chunks
        self._progress = Progress(on_sent)
        self._retries = retries

    def run(self) -> training_pb2.Dataset:
        """Return the dataset; send only what the service lacks.

        After a broken connection it goes on, for as long as each `reconnect_seconds` bring something. Where the service
        lacks what it had, or the files have changed since, all is sent anew. Raises grpc.RpcError for all else, and
        where the service was never reached.
        """
        anew = False
        while True:
            offset = 0
            try:
                offset = 0 if anew else self._committed_size()
                return self._send(offset)
            except grpc.RpcError as error:
                anew = offset > 0 and error.code() in _BEGIN_ANEW
                if not anew and not self._retries.wait(error):
                    raise

    def _committed_size(self) -> int:
        """Return how many bytes the service has."""
        request = training_pb2.QueryUploadRequest(upload_id=self._header.upload_id)
        try:
            committed_size = self._stub.QueryUpload(request).committed_size
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            committed_size = 0
        self._retries.note(committed_size)
        return committed_size

    def _send(self, offset: int) -> training_pb2.Dataset:
        messages = self._messages(offset)
        # Before the call, which may not be silent for as long as it may take to read what the service has.
        first = next(messages)
        return sent(self._stub.UploadDataset, chain([first], messages))

    def _messages(self, offset: int) -> Iterator[Request]:
        """Yield the header once the bytes before the offset are read, then the chunks behind it, then the digest."""
        hasher, position, begun = hashlib.sha256(), 0, False
        for chunk in self._chunks():
            known = min(len(chunk), max(0, offset - position))
            hasher.update(chunk[:known])
            position += len(chunk)
            if position < offset:
                continue
            if not begun:
                yield self._first(offset, hasher.hexdigest())
                begun = True
            rest = chunk[known:]
            hasher.update(rest)
            self._progress.reach(position)
            if rest:
                yield Request(chunk=rest)
        if not begun:  # fewer bytes than the service has: what it has is not of this archive
            yield self._first(offset, hasher.hexdigest())
        yield Request(sha256=hasher.hexdigest())

    def _first(self, offset: int, sha256: str) -> Request:
        header = Request.Header()
        header.CopyFrom(self._header)
        if offset:
            header.write_offset, header.committed_sha256 = offset, sha256
            self._progress.reach(offset)
        return Request(header=header)
