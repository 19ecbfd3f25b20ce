"""Removes uploads that broke off and were not gone on with in time, in this service's own folder."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from training_service.datasets.files.upload_spool import UploadSpool

_log = structlog.get_logger()


class UploadExpiry:
    """Looks at the uploads on a schedule. Each service does: without a shared folder no other one sees its uploads."""

    def __init__(self, spool: UploadSpool, stopping: asyncio.Event, *, every_seconds: float) -> None:
        self._spool = spool
        self._stopping = stopping
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Work until the service stops."""
        while not self._stopping.is_set():
            try:
                num_uploads = await asyncio.to_thread(self._spool.remove_old)
            except OSError:  # the disk may be back the next time
                _log.exception("upload_expiry_failed")
            else:
                if num_uploads:
                    _log.info("uploads_expired", num_uploads=num_uploads)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._every_seconds)
