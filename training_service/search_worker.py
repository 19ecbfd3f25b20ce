"""Drives one claimed search from start to finish, in its own process, as workers train jobs."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing

import structlog

from grpc_runtime.logs import configure_logs
from model_store.errors import StoreError
from model_store.names import job_name
from training_service.jobs.work_order import EXIT_STOPPED, WorkOrder
from training_service.jobs.worker_process import read_order
from training_service.search.driver import SearchDriver

_log = structlog.get_logger()


def main() -> None:
    """Drive the search whose order is on standard input."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the runner too, and that decides
    order = WorkOrder.from_line(read_order(EXIT_STOPPED))
    configure_logs(log_format=order.settings.log_format, level=order.settings.log_level)
    try:
        with closing(order.settings.open_database()) as database:
            code = SearchDriver(order, database, stopping).run()
    except StoreError as error:  # the database, or the blob store, cannot be opened
        _log.warning("job_stopped", job=job_name(order.claim.job_id), reason=error.in_full)
        code = EXIT_STOPPED
    # Threads of libraries may still run; nothing is left that they could do.
    os._exit(code)


if __name__ == "__main__":
    main()
