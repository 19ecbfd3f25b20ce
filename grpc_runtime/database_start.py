"""Opens a database when a service starts: a server that does not answer yet is waited for, one that refuses is not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from grpc_runtime.settings import StoreSettings
from model_store.database.engine import Database
from model_store.errors import Unavailable

_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.5, 5.0
_LOG_SECONDS = 60.0
_log = structlog.get_logger()


async def opened_database(
    settings: StoreSettings, stopping: asyncio.Event, clock: Callable[[], float] = time.monotonic
) -> Database | None:
    """Return the database once it answers; None where `stopping` is set before.

    A machine that starts as a whole has its services up before its database server. Raises what time does not mend:
    SchemaMismatch, and Unavailable for a file that cannot be opened and for a server that is up and refuses the
    connection, such as for a wrong password.
    """
    database = settings.connect()
    pause, started, told = _FIRST_RETRY_SECONDS, clock(), None
    while not stopping.is_set():
        try:
            await asyncio.to_thread(database.open_schema)
        except Unavailable as error:
            if database.is_sqlite:
                raise
            await asyncio.to_thread(database.check_admitted)
            if told is None or clock() - told >= _LOG_SECONDS:
                told = clock()
                _log.warning("waiting_for_database", reason=error.in_full, waited_seconds=round(told - started))
        else:
            return database
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause)
        pause = min(2 * pause, _LAST_RETRY_SECONDS)
    database.close()
    return None
