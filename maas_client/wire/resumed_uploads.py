"""Uploads that go on where they stopped when the connection breaks, or when they are begun once more."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import grpc
from maas.training.v1 import training_pb2, training_pb2_grpc

from maas_client.wire.request_streams import sent
from maas_client.wire.resuming import is_back

Request = training_pb2.UploadDatasetRequest
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
# What a broken connection, a service that stops, or a client that slept for too long, looks like.
_BROKEN_OFF = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
# What a service answers that has not, or has not all, or has other bytes of what was sent before.
_BEGIN_ANEW = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


class ResumedUpload:
    """One archive on its way to the training service; `header.upload_id` is the same for the same archive."""

    def __init__(
        self,
        channel: grpc.Channel,
        header: Request.Header,
        chunks: Callable[[], Iterable[bytes]],
        on_sent: Callable[[int], object] = lambda _: None,
        *,
        reconnect_seconds: float,
    ) -> None:
        """Take what begins the archive anew, and what is told of bytes that have arrived or are sent, each once."""
        self._channel = channel
        self._stub = training_pb2_grpc.TrainingServiceStub(channel)
        self._header = header
        self._chunks = chunks
        self._on_sent = on_sent
        self._reconnect_seconds = reconnect_seconds
        self._told = 0

    def run(self) -> training_pb2.Dataset:
        """Return the dataset; send only what the service lacks.

        After a broken connection it goes on, for as long as each `reconnect_seconds` bring something. Where the service
        lacks what it had, or the files have changed since, all is sent anew. Raises grpc.RpcError for all else, and
        where the service was never reached.
        """
        most, give_up, pause_seconds, anew = -1, 0.0, _FIRST_PAUSE_SECONDS, False
        while True:
            offset = 0
            try:
                offset = 0 if anew else self._committed_size()
                if offset > most:
                    most, give_up, pause_seconds = offset, 0.0, _FIRST_PAUSE_SECONDS
                return self._send(offset)
            except grpc.RpcError as error:
                anew = offset > 0 and error.code() in _BEGIN_ANEW
                if anew:
                    continue
                give_up = give_up or time.monotonic() + self._reconnect_seconds
                is_over = most < 0 or error.code() not in _BROKEN_OFF
                if is_over or not is_back(self._channel, give_up, pause_seconds):
                    raise
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _committed_size(self) -> int:
        """Return how many bytes the service has."""
        request = training_pb2.QueryUploadRequest(upload_id=self._header.upload_id)
        try:
            return self._stub.QueryUpload(request).committed_size
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return 0

    def _send(self, offset: int) -> training_pb2.Dataset:
        messages = self._messages(offset)
        first = next(
            messages
        )  # before the call: reading what the service has may take longer than a call may be silent
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
            self._tell(position)
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
            self._tell(offset)
        return Request(header=header)

    def _tell(self, position: int) -> None:
        if position > self._told:
            self._on_sent(position - self._told)
            self._told = position
