"""How a service's process starts: settings from the environment, logs, then serve; a clear line where that fails."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Coroutine
from typing import TypeVar

import uvloop
from pydantic import ValidationError

from grpc_runtime.logs import configure_logs
from grpc_runtime.settings import ServerSettings
from model_store.errors import StoreError

S = TypeVar("S", bound=ServerSettings)


def run_service(name: str, read_settings: Callable[[], S], serve: Callable[[S], Coroutine[None, None, None]]) -> None:
    """Serve until it ends by itself; exit with 1 and one line on standard error where the service cannot start."""
    try:
        settings = read_settings()
        configure_logs(log_format=settings.log_format, level=settings.log_level)
        # What importing made stays for good: walking over it costs a collection of the interpreter's 100 ms.
        gc.freeze()
        # And what is loaded stays for long: look at all of it a tenth as often as the interpreter would.
        gc.set_threshold(*gc.get_threshold()[:2], 100)
        uvloop.run(serve(settings))
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, each['loc'])) or 'settings'}: {each['msg']}" for each in error.errors())
        sys.exit(f"{name}: {'; '.join(wrong)}")
    except (StoreError, OSError) as error:  # a folder that cannot be made or written, say
        sys.exit(f"{name}: {error}")
