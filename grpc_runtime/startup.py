"""How a service's process starts: settings from the environment, logs, then serve; a clear line where that fails."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TypeVar

import structlog
import uvloop
from pydantic import ValidationError

from grpc_runtime.logs import configure_logs
from grpc_runtime.settings import ServerSettings, wrong_settings
from grpc_runtime.variables import NOT_A_SETTING, mistyped_settings
from model_store.errors import StoreError

S = TypeVar("S", bound=ServerSettings)
_log = structlog.get_logger()


def run_service(name: str, read_settings: Callable[[], S], serve: Callable[[S], Coroutine[None, None, None]]) -> None:
    """Serve until it ends by itself; exit with 1 and one line on standard error where the service cannot start."""
    try:
        settings = read_settings()
        configure_logs(log_format=settings.log_format, level=settings.log_level)
        _warn_of_mistyped_settings(type(settings))
        # Objects made by imports stay for good: a garbage collection that visits them takes 100 ms.
        gc.freeze()
        # Loaded versions stay for long: collect the oldest generation ten times less often than the default.
        gc.set_threshold(*gc.get_threshold()[:2], 100)
        uvloop.run(serve(settings))
    except ValidationError as error:
        sys.exit(f"{name}: {wrong_settings(error)}")
    except StoreError as error:
        sys.exit(f"{name}: {error.in_full}")
    except OSError as error:  # a folder that cannot be made or written, say
        sys.exit(f"{name}: {error}")


def _warn_of_mistyped_settings(settings: type[ServerSettings]) -> None:
    prefix = settings.model_config["env_prefix"]
    known = (f"{prefix}ADDRESS", "MAAS_INFERENCE_ADDRESSES")  # where clients, and the other service, find this one
    for remark in mistyped_settings(os.environ, prefix, settings.model_fields, known):
        _log.warning(NOT_A_SETTING, remark=remark)
