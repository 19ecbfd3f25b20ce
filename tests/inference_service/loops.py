"""Async tests as plain ones, on the event loop that production runs and on the standard library's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import wraps

import pytest
import uvloop

Test = Callable[..., Coroutine[object, object, None]]


def on_a_loop(test: Test) -> Callable[..., None]:
    """Run an async test once on each event loop: uvloop's clock ticks in whole milliseconds, once a turn."""

    @wraps(test)
    def run(*args: object, run_on_loop: Callable[[Coroutine[object, object, None]], None], **kwargs: object) -> None:
        run_on_loop(test(*args, **kwargs))

    signature = inspect.signature(test)
    loop = inspect.Parameter("run_on_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), loop])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("run_on_loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])(run)
